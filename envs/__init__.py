"""The simulated tasks: what they are, how they are drawn, and how they are made; and how others are added."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envs.adapters.gymnasium import gymnasium_task
    from envs.registry import get_task, known_names, register
    from envs.task import ObservationSpec, Task

__all__ = ["ObservationSpec", "Task", "get_task", "gymnasium_task", "known_names", "register"]

_PLACES = {
    "ObservationSpec": "envs.task",
    "Task": "envs.task",
    "get_task": "envs.registry",
    "gymnasium_task": "envs.adapters.gymnasium",
    "known_names": "envs.registry",
    "register": "envs.registry",
}
"""The module that each name is imported from when it is first used; simulators take a second and more."""


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
