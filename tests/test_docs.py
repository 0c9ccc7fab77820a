"""The documentation names what is there: links, pages of the site, the rooms, the settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from test_layers import ORDER

from tools import settings_reference

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TEXTS = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")), *PAGES]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(text: Path) -> Iterator[str]:
    """The files that a text links to or shows, relative to it."""
    for target in LINK.findall(text.read_text()):
        if not target.startswith(("https://", "#")):
            yield target.split("#")[0]


def nav(entries: list[object]) -> Iterator[str]:
    """The pages of the site's navigation."""
    for entry in entries:
        if isinstance(entry, str):
            yield entry
        else:
            assert isinstance(entry, dict)
            for inner in entry.values():
                yield from nav(inner if isinstance(inner, list) else [inner])


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(text.relative_to(ROOT)))
def test_links_and_pictures_are_there(text: Path) -> None:
    missing = [target for target in links(text) if not (text.parent / target).exists()]
    assert not missing


def test_all_pages_are_in_the_navigation_of_the_site() -> None:
    listed = list(nav(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES), "mend `nav` in mkdocs.yml"


def test_pictures_are_shown() -> None:
    shown = {(text.parent / target).resolve() for text in TEXTS for target in links(text)}
    unused = [path.name for path in (DOCS / "images").iterdir() if path.resolve() not in shown]
    assert not unused


def test_the_architecture_lists_the_rooms_from_the_top() -> None:
    rows = re.findall(r"(?m)^\| `([a-z_.]+)` \|", (ROOT / "CONTRIBUTING.md").read_text())
    assert rows == list(reversed(ORDER))


def test_every_room_has_a_page_of_its_docstrings() -> None:
    shown = {name for page in (DOCS / "api").glob("*.md") for name in re.findall(r"(?m)^::: (\S+)$", page.read_text())}
    assert shown == set(ORDER) - {"latent_combo"}  # whose modules are the commands


def test_the_page_of_settings_is_what_the_code_says() -> None:
    fresh = settings_reference.page() == settings_reference.PAGE.read_text()
    assert fresh, f"run: {settings_reference.COMMAND}"


def test_the_page_of_settings_has_docstrings_types_and_values() -> None:
    text = settings_reference.page()
    assert "| `agent.batch` | int | `256` | B, transitions in an update. |" in text
    assert "## rssm.conv\n\nChannels of the convolutions" in text
    assert "| `world_model_fit.steps` | `4000` | `4000` | `10000` | `12000` | `25000` |" in text


def test_the_version_to_cite_is_the_programs() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert f'version = "{cited["version"]}"' in (ROOT / "pyproject.toml").read_text()
    assert f"{{{cited['version']}}}" in (ROOT / "README.md").read_text()


NOTES = DOCS / "notes"
"""A notebook: it may name settings that are gone."""
CURRENT = [text for text in TEXTS if text.name != "CHANGELOG.md" and NOTES not in text.parents]
OPTION = re.compile(r"(?<![\w-])--([a-z][\w.-]*\w)")
SETTING = re.compile(
    r"(?<![\w./-])((?:agent|agent_fit|encode|ensemble|fit|rssm|score|views|world_model|world_model_fit)\.[a-z_]+(?:\.[a-z_]+)*)\b"
)
OTHERS = {"help", "print_config", "strict", "address", "generate", "head", "port", "append", "nproc_per_node"}
"""Options of jsonargparse's and other programs', such as those of Ray, torchrun and wandb."""
SOURCES = [
    path
    for folder in ("benchmarks", "combo_common", "data", "envs", "latent_combo", "tools")
    for path in (ROOT / folder).rglob("*.py")
]


def settings() -> set[str]:
    """The dotted names of all settings, and of their groups."""
    return {
        name
        for prefix, _, some in settings_reference.groups(settings_reference.Config)
        for name in (prefix, *(s.name for s in some))
    }


def options() -> set[str]:
    """The names of all options of all commands, with underscores."""
    declared = {name for path in SOURCES for name in re.findall(r'"--([a-z][\w-]*)"', path.read_text())}
    return {name.replace("-", "_") for name in declared} | settings() | OTHERS


@pytest.mark.parametrize("text", CURRENT, ids=lambda text: str(text.relative_to(ROOT)))
def test_options_and_settings_that_pages_name_are_there(text: Path) -> None:
    content = text.read_text()
    named = {name.replace("-", "_") for name in OPTION.findall(content)}
    dotted = {name for name in SETTING.findall(content) if not name.endswith((".md", ".py", ".yaml"))}
    unknown = sorted((named - options()) | (dotted - settings()))
    assert not unknown
