"""Tasks that are made by their names: SCHEME:NAME, with options after commas, such as `dmc:cheetah-run,camera=side`.

An adapter is a module with `make_task(name, options)`, which returns the task of a name in its simulator's own words.
"""

import importlib
from collections.abc import Callable, Mapping

from combo_common.errors import UserError
from combo_common.suggest import did_you_mean, nearest
from envs.task import Task

MakeTask = Callable[[str, Mapping[str, str]], Task]

GYMNASIUM = "gymnasium"
"""The adapter whose names may have a module imported, which registers the environment: gymnasium:my_module:Reach-v0."""
ADAPTERS = {
    "dmc": "envs.adapters.dm_control",
    "metaworld": "envs.adapters.metaworld",
    GYMNASIUM: "envs.adapters.gymnasium",
}
"""The modules of the adapters, by the words that names begin with."""
ALIASES = {"cheetah-run": "dmc:cheetah-run", "humanoid-walk": "dmc:humanoid-walk"}
"""Plain names of tasks that adapters make: those of V-D4RL (Lu et al., 2023) beside walker-walk."""


def adapted(name: str) -> Task:
    """The task of a whole name. Raises UserError where its adapter or simulator has none of that name."""
    scheme, _, rest = name.partition(":")
    own, *said = rest.split(",")
    options: dict[str, str] = {}
    for option in said:
        key, equals, value = option.partition("=")
        if not equals or not key or not value or key in options:
            raise UserError(f"task {name!r}: its option {option!r} is to be key=value, each key once")
        options[key] = value
    make_task: MakeTask = importlib.import_module(ADAPTERS[scheme]).make_task
    return make_task(own, options)


def whole_name(scheme: str, own: str, options: Mapping[str, str]) -> str:
    """The name of a task that an adapter makes: the same for the same options, in whichever order they came."""
    return ",".join([f"{scheme}:{own}", *(f"{key}={options[key]}" for key in sorted(options))])


def check_options(scheme: str, own: str, options: Mapping[str, str], known: tuple[str, ...]) -> None:
    """Raise UserError for an option that an adapter has not."""
    for key in options:
        if key not in known:
            meant = did_you_mean(nearest(key, known))
            raise UserError(f"{scheme}:{own} has no option {key}; it has {', '.join(known)}{meant}")


def learns_within(horizon: int) -> int:
    """Agent steps between saves of a behaviour learner: those of ten episodes in fifties, but no fewer than 500."""
    return min(10_000, max(500, 50 * (horizon // 5)))


def number(scheme: str, options: Mapping[str, str], key: str, default: int) -> int:
    """An option that is a whole number of 1 or more. Raises UserError for another."""
    text = options.get(key, str(default))
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise UserError(f"{scheme}: {key} is {text!r}; it is a whole number of 1 or more")
    return int(text)
