"""A dataset says between which bounds its actions were played, and a task of others is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from combo_common.errors import UserError
from data.formats.manifest import MANIFEST_NAME, check_fits, describe, read_manifest
from data.formats.native import write_dataset
from data.simulate.rollout import PolicySpec, played_episodes
from envs.registry import get_task

WALKER = replace(get_task("walker-walk"), horizon=4, action_low=(-2.0,) * 6, action_high=(2.0,) * 6)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    episodes = played_episodes(WALKER, PolicySpec(), 1, seed=0)
    write_dataset(tmp_path / "data", episodes, describe(WALKER, "random", 0, {}))
    return tmp_path / "data"


def test_bounds_are_kept_and_another_tasks_are_refused(recorded: Path) -> None:
    manifest = read_manifest(recorded)
    assert (manifest.action_low, manifest.action_high) == ([-2.0] * 6, [2.0] * 6)
    check_fits(manifest, WALKER, None)
    other = replace(WALKER, action_high=(1.0,) * 6)
    with pytest.raises(UserError, match=r"does not fit: its action_high is .2.0, .*, but .1.0, .* is asked for"):
        check_fits(manifest, other, None)


def test_a_manifest_of_before_that_has_none_fits(recorded: Path) -> None:
    content = json.loads((recorded / MANIFEST_NAME).read_text())
    del content["action_low"], content["action_high"]
    (recorded / MANIFEST_NAME).write_text(json.dumps(content))
    check_fits(read_manifest(recorded), replace(WALKER, action_high=(1.0,) * 6), None)


@pytest.mark.parametrize("wrong", [2.0, ["2"], {"0": 2.0}, [float("nan")]])
def test_bounds_of_another_type_are_refused(recorded: Path, wrong: object) -> None:
    content = json.loads((recorded / MANIFEST_NAME).read_text())
    (recorded / MANIFEST_NAME).write_text(json.dumps({**content, "action_low": wrong}))
    with pytest.raises(UserError, match="`action_low` is .* of the wrong type"):
        read_manifest(recorded)


def test_tasks_without_bounds_act_between_minus_one_and_one() -> None:
    described = describe(get_task("walker-walk"), "random", 0, {})
    np.testing.assert_array_equal([described.action_low, described.action_high], [[-1.0] * 6, [1.0] * 6])
