"""Making a task's environment."""

from combo_common.errors import UserError
from envs.base import TaskEnv
from envs.tasks import LOOKS, OBSERVATIONS, get_task


def make(task: str, observation: str = "state", look: str = "fast", image_size: int | None = None) -> TaskEnv:
    """Make an environment. `image_size` defaults to the task's.

    Raises UserError for an unknown task, observation or look, an impossible size, and where no GL library can draw.
    """
    known = get_task(task)
    if observation not in OBSERVATIONS:
        raise UserError(f"unknown observation {observation!r}; it is one of {', '.join(OBSERVATIONS)}")
    if look not in LOOKS:
        raise UserError(f"unknown look {look!r}; it is one of {', '.join(LOOKS)}")
    size = known.image_size if image_size is None else image_size
    if size < 1:
        raise UserError(f"images of {size} pixels cannot be drawn; the task's own size is {known.image_size}")
    # Imported here, not above: without a GL library some raise, which a command can report only once it runs.
    if known.simulator == "dm_control":
        from envs.suite import SuiteEnv

        return SuiteEnv(known, observation, look, size)
    if known.simulator == "metaworld":
        from envs.sawyer import SawyerDoorEnv

        return SawyerDoorEnv(known, observation, look, size)
    from envs.locomotion import LocomotionEnv

    return LocomotionEnv(known, observation, look, size)
