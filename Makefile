PYTHON ?= python3
RUN ?= runs/quickstart
BIN := .venv/bin

PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# One more than there are cores, since tests wait for the processes that they start.
WORKERS = $(shell $(BIN)/python -c "import os; print(1 + len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 'auto')")

.PHONY: setup train test soak lint format bench docs audit tensorboard clean

setup: .venv/ready

# What training needs. torch first and exactly: a looser request may fetch gigabytes of CUDA packages.
.venv/train: pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(PIP) "$$(grep '^torch==' constraints.txt)"
	$(PIP) -c constraints.txt -e .
	touch .venv/train

# What the tests, linters and learners need, too.
.venv/ready: .venv/train
	$(PIP) -c constraints.txt -e ".[collect,dev]"
	touch .venv/ready

train: .venv/train
	$(BIN)/latent-combo train --preset quickstart --out $(RUN)

# A test that takes five minutes hangs: it fails, by its name, with what each of its threads was doing.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist worksteal \
	    -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true

# The long counts: runs that are killed at random moments, damaged files, small disks. All take hours; Ctrl-C keeps what
# is done, in build/soak.json, and the next `make soak` goes on. SOAK="--minutes 60 --only fuzz" ends by itself.
soak: setup
	$(BIN)/python -m tools.soak $(SOAK)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/train
	$(BIN)/python -m benchmarks.bench

# The site, in site/: a broken link, an unknown name or an outdated page of settings is an error.
docs: .venv/docs
	$(BIN)/python -m tools.settings_reference --check
	$(BIN)/zensical build --strict --clean

.venv/docs: .venv/ready
	$(PIP) -c constraints.txt -e ".[docs]"
	touch .venv/docs

# What is pinned (CycloneDX), and known vulnerabilities of it, by the advisories in $$LATENT_COMBO_ADVISORIES or by
# pip-audit, if either is there; a line says where neither is. No network is needed.
audit: setup
	$(BIN)/python -m tools.audit --sbom build/sbom.json

tensorboard: .venv/train
	$(BIN)/tensorboard --logdir runs --host 127.0.0.1

clean:
	rm -rf .venv .cache build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache
