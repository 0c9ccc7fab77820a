"""`python -m latent_combo.evaluate RUN`: score a trained policy in its environment."""

from contextlib import closing

import latent_combo.early  # noqa: F401
from combo_common.cli import run_cli
from combo_common.errors import UserError
from combo_common.figures import figure
from combo_common.symbols import plus_minus
from envs.task import Task
from latent_combo.config import options
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.evaluation.film import film
from latent_combo.evaluation.result import Result
from latent_combo.evaluation.score import Score
from latent_combo.evaluation.vd4rl import vd4rl_score
from latent_combo.pipeline.load_run import Run, load_run
from latent_combo.runtime.run_command import run_command
from latent_combo.runtime.video import write_mp4


def main() -> None:
    """Read the command line, load the run, play, and print the scores beside the dataset's and a random policy's."""
    given = options.evaluate()
    run = load_run(given.run, given.task)
    policy = run.policy(seed=run.config.seed)
    if run.agent_step < (updates := run.config.agent_fit.updates):
        going_on = run_command("train", given.run, run.config.task)
        print(f"unfinished: the agent is at update {run.agent_step} of {updates}; go on with: {going_on}")
    first = run.config.score.seed if given.seed is None else given.seed
    with closing(Evaluator(run.task, run.config.observation_spec, policy.num_agents, run.config.score)) as evaluator:
        score = evaluator.play(policy, first, given.episodes)
    if not score.played.any():
        raise UserError(f"no episode was played to its end: {score.failures[0]}")
    result = None
    try:
        result = Result.read(given.run)
    except UserError as error:  # of a file that scoring does without
        print(f"no return of the dataset: {error}")
    print(scores(run, score, None if result is None else result.selected))
    if result is not None:
        print(f"dataset {result.dataset_return_mean:.1f} ({run.config.dataset})")
    if given.video and score.median is not None:
        write_mp4(given.video, *film(run.task, run.config.look, score.median))
        print(f"video in {given.video}")


def scores(run: Run, score: Score, selected: int | None = None) -> str:
    """Each agent's returns and score beside the references, in lines for people that say which one was `selected`."""
    task, mean = run.task, float(score.counted.mean())
    counted = [returns[played] for returns, played in zip(score.returns, score.played, strict=True)]
    labels = [
        f"{label} (selected)" if agent == selected else label for agent, label in enumerate(run.config.agent.labels())
    ]
    lines = [
        f"agent {label}: return {returns.mean():.1f} {plus_minus()} {returns.std():.1f} over {len(returns)} episodes "
        f"({', '.join(f'{r:.0f}' for r in returns)}){_normalised(task, float(returns.mean()))}"
        if len(returns)
        else f"agent {label}: no episode was played to its end"
        for label, returns in zip(labels, counted, strict=True)
    ]
    lines.append(f"all: return {mean:.1f} {plus_minus()} {score.counted.std():.1f}{_normalised(task, mean)}")
    if (published := vd4rl_score(task, mean)) is not None:
        lines.append(f"V-D4RL's score (return / 10): {published:.1f}")
    if score.failures:
        lines.append(f"not counted: {len(score.failures)} episodes that the environment ended with an error")
    known = f"random policy {figure(task.random_return)}, expert {figure(task.expert_return)}"
    lines.append(f"{known}; from: {task.references}" if task.has_references else f"{known}: no normalised score")
    return "\n".join(lines)


def _normalised(task: Task, mean: float) -> str:
    """The end of a line: the normalised score of a mean return, where there is one."""
    score = task.normalised_score(mean)
    return "" if score is None else f", normalised {score:.1f}"


if __name__ == "__main__":
    run_cli(main)
