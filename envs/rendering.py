"""Drawing MuJoCo scenes without a screen."""

import atexit
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from combo_common.commands import program
from combo_common.errors import UserError
from envs import gl
from envs.pixels import BLACK, averaged, drawn_size
from envs.tasks import VIEWPOINTS

BACKEND = gl.choose()  # mujoco decides by it when it is imported

try:
    import mujoco
except (ImportError, AttributeError, RuntimeError) as error:  # as PyOpenGL and mujoco say that a library is missing
    raise UserError(
        f"MUJOCO_GL is {BACKEND}, which does not work here ({error}); unset it, and see `{program('envs.doctor')}`"
    ) from error


def _placed(camera: str) -> "str | mujoco.MjvCamera":
    """A camera as the renderer takes it: a viewpoint of a task's own, placed, or the name of one in the model."""
    if (view := VIEWPOINTS.get(camera)) is None:
        return camera
    free = mujoco.MjvCamera()
    free.type = mujoco.mjtCamera.mjCAMERA_FREE
    free.lookat, free.distance, free.azimuth, free.elevation = view.lookat, view.distance, view.azimuth, view.elevation
    return free


class Renderer:
    """Draws square pictures of one model from one camera, (size, size, 3) uint8."""

    def __init__(self, model: mujoco.MjModel, size: int, look: str, camera: str) -> None:
        self._look, self._size = look, size
        self._camera = _placed(camera)
        self._option = mujoco.MjvOption()
        # Read when the context is made, and only then: the caller's model is left as it was.
        screen, samples = model.vis.global_, model.vis.quality.offsamples
        pixels, room = drawn_size(size), (screen.offwidth, screen.offheight)
        screen.offwidth, screen.offheight = max(room[0], pixels), max(room[1], pixels)
        if look == "fast":
            model.vis.quality.offsamples = 0
        try:
            self._renderer: Any = mujoco.Renderer(model, pixels, pixels)
        except (RuntimeError, ImportError, AttributeError, mujoco.FatalError) as error:
            raise UserError(f"no GL context ({error}); `{program('envs.doctor')}` says what to install") from error
        finally:
            model.vis.quality.offsamples = samples
            screen.offwidth, screen.offheight = room
        _open.add(self)
        close_before_what_is_loaded()

    def render(self, data: mujoco.MjData) -> NDArray[np.uint8]:
        """Draw the state in `data`. Raises UserError when the frame is black."""
        self._renderer.update_scene(data, self._camera, self._option)
        if self._look == "fast":
            flags = self._renderer.scene.flags
            flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        frame: NDArray[np.uint8] = self._renderer.render()
        if int(frame.max()) < BLACK:
            raise UserError(
                "the renderer drew a black frame, as it does after another GL context was closed; "
                f"run again in a fresh process, and see `{program('envs.doctor')}`"
            )
        return frame if len(frame) == self._size else averaged(frame, self._size)

    def close(self) -> None:
        """Free the GL context; a second call does nothing."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None
            _open.discard(self)


_open: "weakref.WeakSet[Renderer]" = weakref.WeakSet()


def _close_all() -> None:
    for renderer in list(_open):
        renderer.close()


def close_before_what_is_loaded() -> None:
    """Have all contexts freed at exit before what libraries that are loaded by now do then: some end all of GL."""
    atexit.unregister(_close_all)
    atexit.register(_close_all)
