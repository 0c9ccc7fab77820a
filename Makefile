PYTHON ?= python3
RUN ?= runs/quickstart
BIN := .venv/bin

.PHONY: setup train test lint format bench docs tensorboard clean

setup: .venv/ready

# torch first and exactly: a looser request may fetch gigabytes of CUDA packages.
.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[collect,dev]"
	touch .venv/ready

train: setup
	$(BIN)/python -m latent_combo.train --preset quickstart --out $(RUN)

# One worker a core, and one thread in each: two would only wait for one another.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks.bench

# The site, in site/: a broken link, an unknown name or an outdated page of settings is an error. Needs Python 3.11.
docs: .venv/docs
	@test -x $(BIN)/zensical || { echo "make docs needs Python 3.11 or newer: make clean, and set PYTHON=python3.11" >&2; exit 1; }
	$(BIN)/python -m tools.settings_reference --check
	$(BIN)/zensical build --strict --clean

.venv/docs: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch .venv/docs

tensorboard: setup
	$(BIN)/tensorboard --logdir runs --host 127.0.0.1

clean:
	rm -rf .venv .cache build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache
