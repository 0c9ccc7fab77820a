"""What had other names: settings, of which a line names the new word, and metrics and results of finished runs."""

import re
from collections.abc import Mapping
from typing import Any

GROUPS = {"fit": "world_model_fit", "world_model": "rssm"}
"""Groups of settings, the old name and the new one. `world_model` by itself is a setting now, and names a path."""
SETTINGS = {
    "fitted": "world_model",
    "held_out": "validation_fraction",
    "rssm.rssm": "dynamics",
    "world_model_fit.from_first": "episode_start_fraction",
    "world_model_fit.held_out_every": "validate_every",
    "world_model_fit.shift": "random_shift",
    "encode.shift": "random_shift",
    "encode.views": "num_encodings",
    "agent.actions": "num_sampled_actions",
    "agent.discount": "gamma",
    "agent.f": "real_ratio",
    "agent.from_first": "episode_start_fraction",
    "agent.mu": "rollout_actions",
    "agent.rho": "penalty_states",
    "agent.stack": "num_agents",
    "agent.target_rate": "tau",
    "agent_fit.branches": "rollout_batch_size",
    "agent_fit.horizon": "rollout_length",
    "agent_fit.looks": "evaluations",
    "agent_fit.rounds_kept": "model_retain_rounds",
}
"""Settings by their dotted names, whose groups are the new ones; and their own new names."""
RESULT_FIELDS = {"beliefs": "diagnostics", "fitted": "pretrained_world_model", "looks": "evaluations"}
"""Fields of `result.json`, parts of checkpoints and sections of a run's time."""
METRICS = {
    "held_out_errors": "validation_errors",
    "held_out_excess": "validation_q_bias",
    "held_out_return": "validation_return_complete",
    "held_out_told_q": "validation_q_complete",
    "pushed_by_policy": "logsumexp_policy_share",
    "told_apart": "real_vs_imagined_accuracy",
}
"""Metrics; of the other ones of before that begin with `held_out_`, only that is `validation_` now."""


def result_now(said: Mapping[str, Any]) -> dict[str, Any]:
    """Parts of a result or of a checkpoint, in their order, by the names that they have now.

    Where both names are there, the new one counts.
    """
    return {
        RESULT_FIELDS.get(name, name): said.get(RESULT_FIELDS.get(name, name), value) for name, value in said.items()
    }


def metric_now(name: str) -> str:
    """The name that a metric has now, by its name of before; that of one agent ends in "/0", "/1" and so on."""
    metric, slash, agent = name.partition("/")
    return METRICS.get(metric, re.sub("^held_out_", "validation_", metric)) + slash + agent


def renamed(name: str, value: object = None) -> str:
    """The name that a setting has now, by its dotted name of before; any other name stays.

    `world_model` by itself is a group, and renamed, only where its value is a mapping.
    """
    group, dot, own = name.partition(".")
    if dot or isinstance(value, dict) or group not in SETTINGS.values():
        group = GROUPS.get(group, group)
    first, dot_within, rest = own.partition(".")
    first = SETTINGS.get(f"{group}.{first}", first)
    return f"{group}.{first}{dot_within}{rest}" if dot else SETTINGS.get(group, group)


def with_new_names(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings, nested as in a file, by the names that they have now; and what was renamed, the old name and the new.

    Where a file has both names of a setting, the new one counts.
    """
    found: dict[str, str] = {}

    def new(name: str, value: Any) -> str:
        if (now := renamed(name, value)) != name:
            found[name] = now
        return now

    def own(group: str, value: Any) -> Any:
        return value if not isinstance(value, dict) else by_new({f"{group}.{key}": item for key, item in value.items()})

    def by_new(values: dict[str, Any]) -> dict[str, Any]:
        names = {name: new(name, value) for name, value in values.items()}
        ordered = sorted(values, key=lambda name: names[name] == name)  # stable; the new names come last, and count
        return {names[name].rpartition(".")[2]: values[name] for name in ordered}

    made: dict[str, Any] = {}
    for key, value in sorted(settings.items(), key=lambda item: renamed(str(item[0]), item[1]) == item[0]):
        now, values = new(str(key), value), own(str(key), value)
        made[now] = _merged(made.get(now), values)
    return made, found


def _merged(below: Any, above: Any) -> Any:
    """Two values of one name: groups are merged, of anything else the second counts."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return {**below, **{name: _merged(below.get(name), value) for name, value in above.items()}}


def line(where: str, found: dict[str, str]) -> str:
    """What to say of names of before that were found somewhere."""
    listed = ", ".join(f"{old} is now called {now}" for old, now in found.items())
    return f"note: in {where}, {listed}"
