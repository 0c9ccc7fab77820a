"""Making a task's environment."""

from combo_common.errors import UserError
from envs.base import TaskEnv
from envs.registry import get_task
from envs.task import LOOKS, OBSERVATIONS, Task


def make(task: str | Task, observation: str = "state", look: str = "fast", image_size: int | None = None) -> TaskEnv:
    """Make an environment. `image_size` defaults to the task's.

    Raises UserError for an unknown task, observation or look, an impossible size, where what makes it cannot be
    imported, and where no GL library can draw.
    """
    known = get_task(task) if isinstance(task, str) else task
    if observation not in OBSERVATIONS:
        raise UserError(f"unknown observation {observation!r}; it is one of {', '.join(OBSERVATIONS)}")
    if look not in LOOKS:
        raise UserError(f"unknown look {look!r}; it is one of {', '.join(LOOKS)}")
    size = known.image_size if image_size is None else image_size
    if size < 1:
        raise UserError(f"images of {size} pixels cannot be drawn; the task's own size is {known.image_size}")
    try:
        made = known.maker()
    except (ImportError, AttributeError) as error:
        raise UserError(f"what makes {known.name} cannot be imported ({known.make}): {error}") from error
    env: TaskEnv = made(known, observation, look, size)
    return env
