"""Which tasks there are: those of the project, those that were registered, and those that an adapter makes by name.

`register(task)` adds one. An installed package adds its own by an entry point in the group `latent_combo.tasks`, whose
name is the task's, and whose object is a `Task` or a function that returns one. A name such as `my_module:my_task`
imports one, and `dmc:cheetah-run`, `metaworld:drawer-open` or `gymnasium:Pendulum-v1` has an adapter make it. Some of
these have plain names, too (`envs.adapters.ALIASES`).
"""

import importlib
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any

from combo_common.errors import UserError
from combo_common.suggest import alike, did_you_mean, nearest
from envs.adapters.names import ADAPTERS, ALIASES, GYMNASIUM, adapted
from envs.builtin import BUILTIN
from envs.environment_ids import same_environment
from envs.task import Task

ENTRY_POINTS = "latent_combo.tasks"
"""The group of entry points by which installed packages add tasks."""
TRUSTED = "LATENT_COMBO_TRUSTED_MODULES"
"""The environment variable that lists modules, with commas between, which runs and files of settings may name."""


class _MissingError(UserError):
    """There is nothing of a name that the user gave, so that no code of theirs has a traceback to show."""


_registered: dict[str, Task] = {}
_adapted: dict[str, Task] = {}
_named: set[str] = set()
_installed: dict[str, EntryPoint] | None = None


def register(task: Task) -> Task:
    """Make a task known in this process, by its name; returns it. The same task may be registered again.

    Raises ValueError where another task has that name.
    """
    other = _registered.get(task.name, BUILTIN.get(task.name))
    if task.name in ALIASES or (other is not None and other != task):
        raise ValueError(f"there is another task {task.name} already; give yours another name")
    if task.name.partition(":")[0] in ADAPTERS and ":" in task.name:
        raise ValueError(f"{task.name} is a name that the adapter makes; give the task another name")
    _registered[task.name] = task
    return task


def known_names() -> list[str]:
    """The plain names of tasks: the project's, the adapters' that have one, then others in alphabetical order.

    No task is made, and no simulator imported.
    """
    own = [*BUILTIN, *ALIASES]
    return [*own, *sorted({*_registered, *_entry_points()} - set(own))]


def whole_name(name: str) -> str:
    """What a task calls itself that a user or a dataset may name plainly: dmc:cheetah-run of cheetah-run."""
    return ALIASES.get(name, name)


def plain_names(name: str) -> list[str]:
    """A task's name, and the plain one if it has any: names of datasets begin with either."""
    return [name, *(plain for plain, whole in ALIASES.items() if whole == name)]


def is_name(name: str) -> bool:
    """Whether a name that data gave is a task's, which is not made for it: known here, installed, or an adapter's."""
    scheme, colon, rest = name.partition(":")
    known = name in BUILTIN or name in ALIASES or name in _registered or name in _entry_points()
    return known or bool(colon and rest and scheme in ADAPTERS and ":" not in rest)


def names_module(name: str) -> bool:
    """Whether a name has a module imported, as only a user's word may: `module:attribute`, or in an adapter's id."""
    scheme, colon, rest = name.partition(":")
    if scheme in ADAPTERS:
        return scheme == GYMNASIUM and ":" in rest
    return bool(colon and rest) and name not in _registered


def is_trusted(name: str) -> bool:
    """Whether a task may be made that a run or a file of settings names, and no word of the user here.

    Its module is one that TRUSTED lists, or in one of those; or the user has named the same task in this process.
    """
    if not names_module(name) or name in _named:
        return True
    scheme, _, rest = name.partition(":")
    module, _, attribute = rest.partition(":") if scheme in ADAPTERS else (scheme, "", rest)
    listed = os.environ.get(TRUSTED, "").replace(",", " ").split()
    return ":" not in attribute and any(f"{module}.".startswith(f"{known}.") for known in listed)


def require_trusted(name: str, where: str) -> None:
    """Raise UserError for a task whose module only a user may have imported; errors call what names it `where`."""
    if not is_trusted(name):
        raise UserError(
            f"{where} names the task {name!r}, and code of its module would run: if you trust that code, add to the "
            f"command: --task {shlex.quote(name)} (in Python task={name!r}), or list the module in {TRUSTED}"
        )


def find_task(name: str) -> Task | None:
    """The task of a name that data may have given, or None: no module is imported for it but an installed package's.

    Raises UserError where its adapter or its package cannot make it.
    """
    if name in BUILTIN or name in _registered:
        return BUILTIN.get(name) or _registered[name]
    if (name := whole_name(name)) in _adapted:
        return _adapted[name]
    if (entry := _entry_points().get(name)) is not None:
        return _loaded(f"the entry point {name} = {entry.value}", entry.load, name)
    return _made(name) if is_name(name) else None


def get_task(name: str) -> Task:
    """Look up a task, as a user named it; `module:attribute` is imported, from the working folder, too.

    Raises UserError, with the nearest known names, if there is none of that name; and where what is imported fails,
    with its traceback below the line that says so.
    """
    if (task := find_task(name)) is not None:
        return task
    scheme, colon, rest = name.partition(":")
    if names_module(name):
        _named.add(name)
    if colon and scheme in ADAPTERS:
        if names_module(name):
            _run(name, lambda: _module(name, rest.partition(":")[0]))
        return _made(name)
    if colon and rest:
        return _loaded(name, lambda: _imported(scheme, rest), None)
    like = alike(name, known_names(), 3, 0.3) or sorted(BUILTIN)
    others = ", ".join(f"{scheme}:..." for scheme in ADAPTERS)
    raise UserError(
        f"unknown task {name!r}; known tasks like it: {', '.join(like)}; others are {others} or my_module:my_task"
    )


def told_task(name: str, where: str) -> Task:
    """The task that a dataset, which errors call `where`, says it is of: no module that it names is imported.

    Raises UserError where it is not known here, or its adapter or its package cannot make it.
    """
    if (task := find_task(name)) is None:
        raise unregistered(where, name)
    return task


def unregistered(where: str, name: str) -> UserError:
    """The error for data, or a run, of a task that nothing has made known here; only a user has a module imported."""
    remedy = (
        "name its module: --task my_module:TASK (in data relabel: --of my_module:TASK, since --task is whose reward "
        "it gets), or install the package that brings it"
    )
    return UserError(f"{where} is of the task {name!r}, which is not known here; {remedy}")


def task_of_environment(environment: str) -> str | None:
    """The task that is played in one of Gymnasium's environments, by its id: the project's own, or the adapter's.

    None for an empty id.
    """
    if not environment:
        return None
    known = (task.name for task in BUILTIN.values() if task.environment)
    own = (name for name in known if same_environment(BUILTIN[name].environment, environment))
    return next(own, f"gymnasium:{environment}")


def _made(name: str) -> Task:
    """What an adapter makes of a name, once; it is known by its whole name, options included."""
    if name not in _adapted:
        task = adapted(name)
        _adapted[name] = _adapted.setdefault(task.name, task)
    return _adapted[name]


def _entry_points() -> dict[str, EntryPoint]:
    global _installed
    if _installed is None:
        _installed = {entry.name: entry for entry in entry_points(group=ENTRY_POINTS)}
    return _installed


def _module(name: str, module: str) -> ModuleType:
    """The module of a task's name, from the working folder, too. Raises UserError where there is none."""
    if os.getcwd() not in sys.path:  # last, so that nothing in the working folder hides what is installed
        sys.path.append(os.getcwd())
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise  # the module is there, and needs another that is not
        raise _MissingError(
            f"the task {name} cannot be imported: there is no module {error.name} in {os.getcwd()} or "
            "installed; run this where it is, or name its folder in PYTHONPATH"
        ) from error


def _imported(module: str, attribute: str) -> Any:
    """What a module calls by a name. Raises UserError where there is no such module, or no such name in it."""
    found = _module(f"{module}:{attribute}", module)
    if not hasattr(found, attribute):
        meant = nearest(attribute, [name for name in vars(found) if name[0] != "_"])
        asked = did_you_mean(meant and f"{module}:{meant}")
        raise _MissingError(f"the module {module} ({found.__file__}) has no {attribute}{asked}")
    return getattr(found, attribute)


def _run(what: str, code: Callable[[], Any]) -> Any:
    """What another's code returns, which may do anything. Raises UserError."""
    try:
        return code()
    except _MissingError:
        raise
    except Exception as error:
        below = "".join(traceback.format_exception(error)).rstrip()
        raise UserError(f"the task {what} cannot be imported: {type(error).__name__}: {error}\n{below}") from error


def _loaded(what: str, load: Callable[[], Any], name: str | None) -> Task:
    """Register a task, or what a function returns. Raises UserError."""

    def made() -> Any:
        found = load()
        return found if isinstance(found, Task) else found()

    task = _run(what, made)
    if not isinstance(task, Task):
        raise UserError(
            f"the task {what} is {type(task).__name__}, not an envs.Task; give one, or a function that does"
        )
    if name is not None and task.name != name:
        raise UserError(f"the task {what} calls itself {task.name}; give the entry point that name")
    try:
        return register(task)
    except ValueError as error:
        raise UserError(f"the task {what} cannot be registered: {error}") from error
