"""A dataset's fingerprint: of its content, in every layout."""

import os
import shutil
from pathlib import Path

import pytest
from layouts import HOPPER, both, hop, write_in

from data.reference import resolve
from data.source import open_source

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize(("layout", "pixels"), both())
def test_a_dataset_that_was_replaced_in_its_place_is_another(
    layout: str, pixels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prints = []
    for number, seed in enumerate((0, 1, 0)):
        root = tmp_path / str(number)
        root.mkdir()
        dataset = write_in(layout, root, [hop(9, seed, image=pixels), hop(7, 2, image=pixels)], monkeypatch)
        source = open_source(dataset, HOPPER, root)
        for file in source.files:
            os.utime(file, (number, number))  # when it was written says nothing
        prints.append(resolve(dataset, HOPPER, root).fingerprint)
        assert len(prints[-1]) == 64
    assert prints[0] != prints[1]
    if layout not in ("own", "minari"):  # which hold when, or by which release, they were written
        assert prints[0] == prints[2]


@pytest.mark.parametrize(("layout", "pixels"), both())
def test_a_dataset_that_was_moved_is_the_same(
    layout: str, pixels: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_in(layout, tmp_path, [hop(9, 0, image=pixels)], monkeypatch)
    here = open_source(dataset, HOPPER, tmp_path)
    there = tmp_path / f"elsewhere{here.path.suffix}"
    (shutil.copy if here.path.is_file() else shutil.copytree)(here.path, there)
    assert resolve(str(there), HOPPER, tmp_path).fingerprint == here.fingerprint()
