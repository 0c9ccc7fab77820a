"""Choosing the GL library that draws without a screen; it must happen before mujoco is imported."""

import ctypes
import ctypes.util
import os

from combo_common.errors import UserError

LIBRARIES = {"egl": ("EGL", "libegl1 libgl1-mesa-dri"), "osmesa": ("OSMesa", "libosmesa6")}
"""Back end to the library that it needs and the Debian packages that hold it, in order of preference."""


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


def choose_if_any() -> str | None:
    """Set MUJOCO_GL, unless the user has, to the first back end that can be loaded, and return it; None without one."""
    if chosen := os.environ.get("MUJOCO_GL"):
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
