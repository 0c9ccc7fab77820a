"""Heads of files refer to one table of symbols, and what they use is in it."""

import ast
import re

from test_layers import ROOT, SOURCES

TABLE = (ROOT / "docs" / "symbols.md").read_text()
NAMED = re.compile(r"Symbols \(docs/symbols\.md\): (.*?)\.(?:\s|$)", re.DOTALL)


def test_every_symbol_at_the_head_of_a_file_is_in_the_table() -> None:
    known = {letter for cell in re.findall(r"^\| ([^|]+) \|", TABLE, re.MULTILINE) for letter in cell.split(", ")}
    heads = {name: NAMED.search(ast.get_docstring(tree) or "") for name, tree in SOURCES.items()}
    named = {name: set(re.findall(r"\b[A-Zk]\b", head[1])) for name, head in heads.items() if head}
    assert len(named) > 10
    for name, letters in named.items():
        assert letters and letters <= known, f"{name}: {letters - known} is not in docs/symbols.md"


def test_settings_of_the_table_exist() -> None:
    from latent_combo.config.schema import Config

    for setting in set(re.findall(r"`((?:agent|agent_fit|encode|ensemble|rssm|world_model_fit)\.[a-z_.]+)`", TABLE)):
        place: object = Config()
        for part in setting.split("."):
            assert hasattr(place, part), f"docs/symbols.md: there is no setting {setting}"
            place = getattr(place, part)


def test_files_of_the_table_exist() -> None:
    for path in re.findall(r"`((?:agent|world_model)/[a-z_]+\.py)`", TABLE):
        assert (ROOT / "latent_combo" / path).is_file(), path
