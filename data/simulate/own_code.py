"""Functions of the user's own, named as FILE.py:FUNCTION."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from combo_common.errors import UserError


def load_function(option: str, spec: str) -> Callable[..., Any]:
    """The function that an option names as FILE.py:FUNCTION. Raises UserError where there is none."""
    file, _, name = spec.rpartition(":")
    path = Path(file).expanduser()
    if not file or not path.is_file():
        raise UserError(f"{option} is {spec!r}; give an existing FILE.py:FUNCTION")
    found = importlib.util.spec_from_file_location(f"own_code_in_{path.stem}", path)
    if found is None or found.loader is None:
        raise UserError(f"{path} is no file of Python; give FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses look there for theirs
    try:
        found.loader.exec_module(module)
    except Exception as error:  # the user's own code may do anything
        raise UserError(f"{path} cannot be imported: {type(error).__name__}: {error}") from error
    function: Any = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"{path} has no function {name!r}")
    own: Callable[..., Any] = function
    return own
