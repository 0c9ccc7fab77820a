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
from envs.task import VIEWPOINTS

BACKEND = gl.choose()  # mujoco decides by it when it is imported

try:
    import mujoco
except (ImportError, AttributeError, RuntimeError) as error:  # as PyOpenGL and mujoco say that a library is missing
    raise UserError(
        f"MUJOCO_GL is {BACKEND}, which does not work here ({error}); unset it, and see `{program('envs.doctor')}`"
    ) from error


UPSIDE_DOWN = -0.1
"""The world's vertical part of a camera's own up, below which its pictures are turned by half a turn."""


def _placed(model: mujoco.MjModel, camera: str) -> mujoco.MjvCamera:
    """A camera: one of VIEWPOINTS, one of the model by its name or number, or for "" MuJoCo's free camera.

    Raises UserError, with the cameras that there are, for another.
    """
    placed = mujoco.MjvCamera()
    if (view := VIEWPOINTS.get(camera)) is not None:
        placed.type = mujoco.mjtCamera.mjCAMERA_FREE
        placed.lookat, placed.distance = view.lookat, view.distance
        placed.azimuth, placed.elevation = view.azimuth, view.elevation
        return placed
    if not camera:
        mujoco.mjv_defaultFreeCamera(model, placed)
        return placed
    names = [model.camera(index).name for index in range(model.ncam)]
    number = names.index(camera) if camera in names else int(camera) if camera.isdigit() else model.ncam
    if number >= model.ncam:
        known = ", ".join(name or str(index) for index, name in enumerate(names))
        raise UserError(f"there is no camera {camera!r}; {f'there are {known}' if known else 'this model has none'}")
    placed.type, placed.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, number
    return placed


def _is_upside_down(model: mujoco.MjModel, camera: mujoco.MjvCamera) -> bool:
    """Whether a camera of the model is so in the pose that the model was made in.

    Not where it first draws: one that turns with a falling body would be turned in some processes, and not in others.
    """
    if camera.fixedcamid < 0:
        return False
    rest = mujoco.MjData(model)
    mujoco.mj_kinematics(model, rest)
    mujoco.mj_comPos(model, rest)
    mujoco.mj_camlight(model, rest)
    up = rest.cam_xmat[camera.fixedcamid].reshape(3, 3)[2, 1]  # z of the camera's y axis
    return bool(up < UPSIDE_DOWN)


class Renderer:
    """Draws square pictures of one model from one camera, (size, size, 3) uint8."""

    def __init__(self, model: mujoco.MjModel, size: int, look: str, camera: str) -> None:
        self._look, self._size = look, size
        self._camera = _placed(model, camera)
        self._model = model
        self._turned = _is_upside_down(model, self._camera)
        self._terrain = model.hfield_data.copy()
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

    def render(self, data: mujoco.MjData, model: mujoco.MjModel | None = None) -> NDArray[np.uint8]:
        """Draw the state in `data`, (size, size, 3) uint8, right way up. Raises UserError when the frame is black.

        `model` is that of `data`, if it is another copy of the model, whose numbers may differ.
        """
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        scene = self._renderer.scene
        self._upload_terrain(model or self._model)
        mujoco.mjv_updateScene(model or self._model, data, self._option, None, self._camera, everything, scene)
        if self._look == "fast":
            flags = self._renderer.scene.flags
            flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
            flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        frame: NDArray[np.uint8] = self._renderer.render()
        if self._turned:
            frame = frame[::-1, ::-1]
        if int(frame.max()) < BLACK:
            raise UserError(
                "the renderer drew a black frame, as it does after another GL context was closed; "
                f"run again in a fresh process, and see `{program('envs.doctor')}`"
            )
        return frame if len(frame) == self._size else averaged(frame, self._size)

    def _upload_terrain(self, model: mujoco.MjModel) -> None:
        """Have the context hold the heights of a model, which the start of an episode may draw anew."""
        if np.array_equal(self._terrain, model.hfield_data):
            return
        self._renderer._gl_context.make_current()
        for terrain in range(model.nhfield):
            mujoco.mjr_uploadHField(model, self._renderer._mjr_context, terrain)
        self._terrain = model.hfield_data.copy()

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
