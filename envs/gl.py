"""Choosing the GL library that draws without a screen; it must happen before mujoco is imported."""

import ctypes
import ctypes.util
import os

from combo_common.errors import UserError

LIBRARIES = {"egl": ("EGL", "libegl1 libgl1-mesa-dri"), "osmesa": ("OSMesa", "libosmesa6")}
"""Back end to the library that it needs and the Debian packages that hold it, in order of preference."""
OTHERS = ("glfw", "on", "enable", "enabled", "true", "1", "off", "disable", "disabled", "false", "0")
"""What else MuJoCo and dm_control both take: a screen, and words for drawing with a screen or not at all."""


def available(backend: str) -> bool:
    """Whether the library of a back end can be loaded."""
    name = ctypes.util.find_library(LIBRARIES[backend][0])
    if name is None:
        return False
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def chosen_by_user() -> str | None:
    """What MUJOCO_GL says, which is then spelt in lower case, as dm_control needs it; None where it says nothing.

    Raises UserError for a back end that there is not.
    """
    said = os.environ.get("MUJOCO_GL", "")
    chosen = said.strip().lower()
    if not chosen:
        os.environ.pop("MUJOCO_GL", None)
        return None
    if chosen not in (*LIBRARIES, *OTHERS):
        raise UserError(f"MUJOCO_GL is {said}; it is one of {', '.join((*LIBRARIES, OTHERS[0]))}, or unset")
    os.environ["MUJOCO_GL"] = chosen
    return chosen


def choose_if_any() -> str | None:
    """Set MUJOCO_GL, unless the user has, to the first back end that can be loaded, and return it; None without one.

    Raises UserError as `chosen_by_user` does.
    """
    if chosen := chosen_by_user():
        return chosen
    for backend in LIBRARIES:
        if available(backend):
            os.environ["MUJOCO_GL"] = backend
            os.environ.setdefault("PYOPENGL_PLATFORM", backend)
            return backend
    return None


def choose() -> str:
    """`choose_if_any`, for who must draw. Raises UserError naming the packages to install when there is none."""
    chosen = choose_if_any()
    if chosen is None:
        raise UserError(
            "no GL library for drawing without a screen: install libegl1 and libgl1-mesa-dri (EGL), "
            "or libosmesa6 (OSMesa)"
        )
    return chosen
