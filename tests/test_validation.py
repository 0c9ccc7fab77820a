"""What a group of settings says is wrong names the settings whole, wherever it stands."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest

from combo_common.errors import UserError
from combo_common.validation import with_group
from latent_combo.config.parser import instantiate, setting_types
from latent_combo.config.schema import Config

NUMBERS = (-3, 0)
"""Values of which each number with a range refuses one."""
UNBOUNDED = {
    *("agent.target_entropy", "ensemble.max_log_variance", "ensemble.min_log_variance"),
}
"""Numbers that may be anything by themselves."""


def groups(of: type, name: str = "") -> Iterator[tuple[str, type]]:
    """All dataclasses of settings, by dotted names."""
    yield name, of
    for field, hint in get_type_hints(of).items():
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            yield from groups(hint, f"{name}.{field}".strip("."))


def refused(*arguments: str) -> str | None:
    """What there is to say of settings as options, or None."""
    try:
        instantiate(list(arguments))
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return None


def test_a_group_knows_its_name_in_every_place() -> None:
    known = ("batch", "real_ratio", "penalty_states")
    said = 'penalty_states is "model", but real_ratio = 1.0 leaves no batch; set agent_fit.batch, not real_ratios.'
    whole = said.replace("penalty_states", "g.h.penalty_states").replace("real_ratio ", "g.h.real_ratio ")
    assert with_group(said, "g.h", known) == whole and with_group(said, "", known) == said
    assert with_group("batch is -3", "agent", known) == "agent.batch is -3"
    assert with_group("lists of batch", "agent", known) == "lists of batch"


@pytest.mark.parametrize(("group", "of"), list(groups(Config)), ids=lambda given: given or "all")
def test_every_number_with_a_range_is_named_with_its_groups(group: str, of: type) -> None:
    """Numbers that no value is refused of are listed, so that a new one is given a range or a place in the list."""
    for field, hint in get_type_hints(of).items():
        name = f"{group}.{field}".strip(".")
        if not ({int, float} & {hint, *getattr(hint, "__args__", ())}) or name in UNBOUNDED:
            continue
        values = [[number] for number in NUMBERS] if getattr(hint, "__origin__", None) is tuple else list(NUMBERS)
        said = [line for value in values if (line := refused(f"--{name}={json.dumps(value)}")) is not None]
        assert said, f"{name} has no range"
        assert all(line.startswith(f"{name} ") for line in said), said


IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    ("agent", {"extraction": "advantage"}),
    ("agent", {"backup": "mode", "entropy_in_target": True}),
    ("agent", {"extraction": "imitation", "entropy_in_target": True, "backup": "sample", "anchor": 0}),
    ("agent", {"anchor": 1, "extraction": "imitation"}),
    ("agent", {"penalty_states": "model", "real_ratio": 1}),
    ("agent", {"real_ratio": 0.001, "batch": 2}),
    ("agent", {"beta": []}),
    ("agent", {"beta": [1, 2], "real_ratio": [0.5]}),
    ("agent", {"num_agents": 4, "beta": [1, 2]}),
    ("agent", {"beta": [1, -2]}),
    ("agent", {"trajectory_temperature": 0}),
    ("agent_fit", {"warm_up": 9, "updates": 9}),
    ("encode", {"num_encodings": 3, "sample": False, "random_shift": 0}),
    ("ensemble", {"elites": 9}),
    ("ensemble", {"weight_decay": [1]}),
    ("ensemble", {"min_log_variance": 3}),
    ("score", {"seed": 1995, "episodes": 10}),
    ("rssm.conv", {"encoder_channels": [0]}),
    ("rssm.conv", {"encoder_channels": [8] * 9}),
    ("rssm.conv", {"decoder_channels": [8, 0]}),
    ("rssm.conv", {"decoder_kernels": [5, 5]}),
    ("rssm.conv", {"image_size": 15}),
    ("rssm.conv", {"ways": ["plain"]}),
    ("rssm.conv", {"ways": ["fast"] * 6}),
]


@pytest.mark.parametrize(("group", "settings"), IMPOSSIBLE)
def test_what_does_not_go_together_is_named_with_its_groups(group: str, settings: dict[str, Any]) -> None:
    line = refused(*(f"--{group}.{name}={json.dumps(value)}" for name, value in settings.items()))
    assert line is not None and line.split()[0] in setting_types(), line
    assert line.startswith(f"{group}."), line


def test_a_batch_has_a_transition_for_each_network_of_an_ensemble() -> None:
    states, few = ["--obs", "state", "--ensemble.members", "7"], "--world_model_fit.batch=3"
    line = refused(*states, few, "--world_model_fit.length=2")
    assert line is not None and line.startswith("world_model_fit.batch is 3, which makes 3 transitions a step, fewer")
    assert "set it to 7 or more" in line
    assert "set it to 4 or more" in str(refused(*states, few, "--world_model_fit.length=3"))
    assert instantiate([*states, "--world_model_fit.batch=4", "--world_model_fit.length=3"]).world_model_fit.batch == 4
    assert refused(few) is None  # of images, any batch does
    line = refused(*states, "--world_model_fit.length=1")
    assert line is not None and line.startswith("world_model_fit.length is 1, and a transition is of two rows")
