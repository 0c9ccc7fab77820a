"""V-D4RL's score of a return: a tenth of it, so that 100 is the most that an episode of dm_control's suite returns."""

from envs.task import Task

CONTROL_STEPS = 1000
"""Of an episode of the suite, each of which pays a reward in [0, 1]."""
RETURN_PER_POINT = 10.0


def vd4rl_score(task: Task, episode_return: float | None) -> float | None:
    """The score of a mean return (Lu et al., 2023, Table 1); None for tasks to which it is not comparable.

    Those are of other simulators, of episodes of other lengths, and those of dm_control whose rewards are not in [0, 1]
    (lqr's, which terminate).
    """
    comparable = (
        task.simulator == "dm_control"
        and task.termination == "none"
        and task.horizon * task.action_repeat == CONTROL_STEPS
    )
    return episode_return / RETURN_PER_POINT if comparable and episode_return is not None else None
