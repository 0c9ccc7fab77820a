"""The drawing of imports between rooms."""

import graphlib

import pytest

pytest.importorskip("grimp")

from tools.imports import draw, levels, mermaid, room

ARROWS = {("top", "middle"): 2, ("middle", "ground"): 3, ("top", "ground"): 1}


@pytest.mark.parametrize(
    "module, expected",
    [
        ("latent_combo.agent.fit", "latent_combo.agent"),
        ("latent_combo.agent", "latent_combo.agent"),
        ("latent_combo.train", "latent_combo"),
        ("latent_combo", "latent_combo"),
        ("data.formats.d4rl", "data"),
    ],
)
def test_a_room_is_a_folder_of_the_top_package_or_a_package(module: str, expected: str) -> None:
    assert room(module, {"latent_combo.agent"}) == expected


def test_levels_rise_from_the_ground() -> None:
    assert levels(ARROWS) == [["ground"], ["middle"], ["top"]]


def test_a_circle_is_an_error() -> None:
    with pytest.raises(graphlib.CycleError):
        levels({**ARROWS, ("ground", "top"): 1})


def test_the_drawing_counts_the_lines_of_imports() -> None:
    first, *_ = draw(ARROWS).splitlines()
    assert first.split("->")[1].strip() == "ground 1, middle 2"


def test_the_diagram_leaves_out_what_a_longer_way_implies() -> None:
    assert mermaid(ARROWS).splitlines() == [
        "graph TD",
        '    middle["middle"] --> ground["ground"]',
        '    top["top"] --> middle["middle"]',
    ]
