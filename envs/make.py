"""Making a task's environment."""

from envs.tasks import LOOKS, get_task
from envs.walker import WalkerEnv
from latent_combo.run.errors import UserError

OBSERVATIONS = ("state", "pixels")


def make(task: str, observation: str = "state", look: str = "fast", image_size: int | None = None) -> WalkerEnv:
    """Make an environment. `image_size` defaults to the task's.

    Raises UserError for an unknown task, observation or look, and where no GL library can draw.
    """
    known = get_task(task)
    if observation not in OBSERVATIONS:
        raise UserError(f"unknown observation {observation!r}; it is one of {', '.join(OBSERVATIONS)}")
    if look not in LOOKS:
        raise UserError(f"unknown look {look!r}; it is one of {', '.join(LOOKS)}")
    return WalkerEnv(known, observation, look, image_size or known.image_size)
