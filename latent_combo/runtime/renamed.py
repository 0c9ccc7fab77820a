"""Settings that had other names: files and command lines of before are read, with a line that names the new word."""

from typing import Any

GROUPS = {"fit": "world_model_fit"}
"""Groups of settings, the old name and the new one."""
SETTINGS = {
    "held_out": "validation_fraction",
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


def renamed(name: str) -> str:
    """The name that a setting has now, by its dotted name of before; any other name stays."""
    group, dot, own = name.partition(".")
    group = GROUPS.get(group, group)
    return f"{group}.{SETTINGS.get(f'{group}.{own}', own)}" if dot else SETTINGS.get(group, group)


def with_new_names(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Settings, nested as in a file, by the names that they have now; and what was renamed, the old name and the new.

    Where a file has both names of a setting, the new one counts.
    """
    found: dict[str, str] = {}

    def new(name: str) -> str:
        if (now := renamed(name)) != name:
            found[name] = now
        return now

    def own(group: str, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        names = {key: new(f"{group}.{key}").partition(".")[2] for key in value}
        return {**{names[key]: value[key] for key in value if names[key] not in value or names[key] == key}}

    made: dict[str, Any] = {}
    for key, value in settings.items():
        now = new(str(key))
        if now == key or now not in settings:
            made[now] = own(str(key), value)
    return made, found


def line(where: str, found: dict[str, str]) -> str:
    """What to say of names of before that were found somewhere."""
    listed = ", ".join(f"{old} is {now}" for old, now in found.items())
    return f"note: {where} has settings by names of before; now {listed}"
