"""The Pythons that the project names are the same in all places."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OLDEST = (3, 11)


def test_no_place_names_another_oldest_python() -> None:
    dotted, packed = ".".join(map(str, OLDEST)), "".join(map(str, OLDEST))
    assert PROJECT["project"]["requires-python"].startswith(f">={dotted},")
    assert PROJECT["tool"]["ruff"]["target-version"] == f"py{packed}"
    assert PROJECT["tool"]["mypy"]["python_version"] == dotted
    readme, quickstart = ((ROOT / name).read_text() for name in ("README.md", "docs/quickstart.md"))
    assert f"Python {dotted} or 3.12" in readme and f"Python {dotted} or 3.12" in quickstart
    told = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    assert told == [dotted, "3.12"]
    assert "badge/python-3.11%20|%203.12-" in readme
    for name in (".ci/run", "Makefile", "CONTRIBUTING.md", "constraints.txt", "README.md"):
        assert "3.10" not in (ROOT / name).read_text().replace("3.1.10", ""), name


def test_the_docs_say_what_keeps_newer_pythons_out() -> None:
    assert PROJECT["project"]["requires-python"].endswith("<3.13")
    (line,) = [line for line in (ROOT / "docs/faq.md").read_text().splitlines() if "Python 3.13" in line]
    assert "labmaze" in line
