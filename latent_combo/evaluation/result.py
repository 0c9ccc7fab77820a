"""What a run came to: `result.json`, written, read back, and told to people."""

import json
import math
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from combo_common.commands import command
from combo_common.errors import UserError
from combo_common.files import write_atomically
from combo_common.symbols import plus_minus
from combo_common.versions import versions
from envs.task import Task
from latent_combo.evaluation.fields import FieldError, read_fields
from latent_combo.evaluation.interim import InterimScores
from latent_combo.evaluation.result_parts import AgentResult, DatasetReturns, Setting, WorldModelResult
from latent_combo.evaluation.score import Score
from latent_combo.evaluation.vd4rl import vd4rl_score
from latent_combo.runtime.renamed import result_now
from latent_combo.runtime.run_folder import REPORT

RESULT = "result.json"
RANDOM, EXPERT = 0.0, 100.0
"""Normalised scores, by definition."""
REFERENCES = ("dataset_return_mean", "random_return", "expert_return")
"""What scores are read beside."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to. Means and standard deviations are over all episodes of all agents."""

    task: str
    """The task's name."""
    obs: str
    dataset: str
    algorithm: str
    preset: str
    seed: int
    agent: dict[str, Any] = field(default_factory=dict)
    """See `Setting` for these six."""
    episodes: int
    """Scored episodes of all agents together."""
    return_mean: float
    return_std: float
    normalised_score: float
    """Of `return_mean`: 0 is a random policy, 100 an expert."""
    vd4rl_score: float | None = None
    """V-D4RL's, a tenth of `return_mean`; None for a task that is not dm_control's."""
    success_rate: float | None = None
    """Share of episodes that end with the task done; None for a task whose reward does not tell."""
    dataset_return_mean: float
    dataset_return_max: float | None = None
    dataset_return_drawn: float | None = None
    """See `DatasetReturns`; None in a file of an older version."""
    random_return: float
    expert_return: float
    """What scores are normalised by."""
    dataset_normalised_score: float
    """Of `dataset_return_mean`."""
    random_normalised_score: float = RANDOM
    expert_normalised_score: float = EXPERT
    agents: list[AgentResult]
    evaluations: InterimScores = field(default_factory=InterimScores)
    world_model: WorldModelResult = field(default_factory=WorldModelResult)
    diagnostics: dict[str, Any] = field(default_factory=dict)
    """What the last views found; empty until they are drawn."""
    pretrained_world_model: str | None = None
    """See `Setting`."""
    rates: dict[str, float | None] = field(default_factory=dict)
    """Frames of the model and updates of the agent per second; None for a phase that was not run."""
    share_of_matmul: dict[str, float | None] = field(default_factory=dict)
    """Of each phase: its rate of operations over that of this machine's matrix products."""
    versions: dict[str, str]
    seconds: dict[str, float]
    """Wall time of each part of the run."""

    @classmethod
    def of(
        cls,
        task: Task,
        setting: Setting,
        score: Score,
        agents: Sequence[AgentResult],
        dataset: DatasetReturns,
        *,
        evaluations: InterimScores,
        world_model: WorldModelResult,
        rates: dict[str, float | None],
        share_of_matmul: dict[str, float | None],
        seconds: dict[str, float],
    ) -> "Result":
        """From the run's parts: all but what the last views find."""
        mean = float(score.returns.mean())
        return cls(
            task=task.name,
            **vars(setting),
            episodes=int(score.returns.size),
            return_mean=mean,
            return_std=float(score.returns.std()),
            normalised_score=task.normalised_score(mean),
            vd4rl_score=vd4rl_score(task, mean),
            success_rate=score.success_rate(task),
            dataset_return_mean=dataset.mean,
            dataset_return_max=dataset.most,
            dataset_return_drawn=dataset.drawn,
            random_return=task.random_return,
            expert_return=task.expert_return,
            dataset_normalised_score=task.normalised_score(dataset.mean),
            agents=list(agents),
            evaluations=evaluations,
            world_model=world_model,
            rates=rates,
            share_of_matmul=share_of_matmul,
            versions=versions(),
            seconds=seconds,
        )

    def with_diagnostics(self, diagnostics: dict[str, Any], seconds: dict[str, float]) -> "Result":
        """The same with what the last views found, and with the time that was spent until then."""
        return replace(self, diagnostics=diagnostics, seconds=seconds)

    @property
    def finished(self) -> bool:
        """Whether the run's last views are done, too."""
        return bool(self.diagnostics)

    def scores(self) -> dict[str, float]:
        """The figures that sum it up, by their names."""
        return {name: float(getattr(self, name)) for name in ("return_mean", "return_std", "normalised_score")}

    def to_json(self) -> dict[str, Any]:
        """What `result.json` holds."""
        return {**asdict(self), "world_model": self.world_model.to_json()}

    def write(self, run: Path) -> None:
        """Write `result.json` into a run's folder, whole or not at all."""
        write_atomically(run / RESULT, json.dumps(self.to_json(), indent=2).encode())

    @classmethod
    def read(cls, run: Path) -> "Result | None":
        """Read a run's `result.json`; None before its end, or where it was never made.

        What older versions did not write is left at its default. Raises UserError for a file that is damaged or lacks
        something.
        """
        path = run / RESULT
        if not path.exists():
            return None
        remedy = f"score it anew: {command('train', '--resume', run)}"
        try:
            said = json.loads(path.read_text())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} can not be read ({error}); {remedy}") from error
        if not isinstance(said, dict):
            raise UserError(f"{path} holds no result; {remedy}")
        try:
            return cls(**read_fields(cls, _typed(said)))
        except FieldError as error:
            raise UserError(f"{path} is of another version of the program and {error}; {remedy}") from error

    def __str__(self) -> str:
        """A few lines for people."""
        differ = any(agent.settings for agent in self.agents)
        agents = ", ".join(f"{a.return_mean:.1f}" + (f" ({a.label})" if differ else "") for a in self.agents)
        most = "" if self.dataset_return_max is None else f" (at most {self.dataset_return_max:.1f}{self._drawn()})"
        lines = [
            f"return      {self.return_mean:.1f} {plus_minus()} {self.return_std:.1f} over {self.episodes} episodes "
            f"({'of different settings' if differ else 'each agent'}: {agents})",
            f"dataset     {self.dataset_return_mean:.1f}{most}   random {self.random_return:.1f}   "
            f"expert {self.expert_return:.1f}",
            f"normalised  {self.normalised_score:.1f}"
            + ("" if self.success_rate is None else f"   success {self.success_rate:.0%}"),
            *([] if self.vd4rl_score is None else [f"V-D4RL      {self.vd4rl_score:.1f} (return / 10)"]),
            f"prediction  {self._prediction()}",
            f"time        {', '.join(f'{name} {s:.0f} s' for name, s in self.seconds.items())}",
        ]
        return "\n".join(lines)

    def describe(self, out: str) -> str:
        """The same, and where the run's files are."""
        files = f"files       {out}/{REPORT} (all of it on a page), {out}/{RESULT}, {out}/videos"
        return f"{self}\n{files}; tensorboard --logdir {shlex.quote(out)}"

    def _drawn(self) -> str:
        """The return as rows are drawn, where they are not drawn uniformly."""
        weighted = self.agent.get("trajectory_temperature") is not None or (
            self.agent.get("episode_start_fraction") or self.agent.get("from_first")
        )
        told = weighted and self.dataset_return_drawn is not None
        return f"; as its rows are drawn {self.dataset_return_drawn:.1f}" if told else ""

    def _prediction(self) -> str:
        """The errors of observations; older versions have a PSNR of states, too."""
        figures = self.world_model.open_loop
        of_states = "open_loop_nrmse" in figures
        measure, title, digits = ("nrmse", "normalised RMSE", 3) if of_states else ("psnr", "PSNR in dB", 1)
        columns = (figures.get(f"{name}_{measure}", {}) for name in ("open_loop", "copy_last", "mean_observation"))
        model, copy, mean = (defaultdict(lambda: math.nan, column) for column in columns)
        told = [
            f"{k} step{'s' if k > 1 else ''} {model[k]:.{digits}f} "
            f"(copy {copy[k]:.{digits}f}, mean {mean[k]:.{digits}f})"
            for k in model
        ]
        return f"{title} at {', '.join(told)}" if told else "none"


def _typed(said: dict[str, Any]) -> dict[str, Any]:
    """A result as JSON has it, with its parts as classes. Raises FieldError for a part that is none."""
    said = result_now(said)
    made = {**said, "dataset_normalised_score": said.get("dataset_normalised_score", _of_dataset(said))}
    if "evaluations" in said:
        made["evaluations"] = InterimScores(**read_fields(InterimScores, said["evaluations"]))
    if isinstance(said.get("seconds"), dict):
        made["seconds"] = result_now(said["seconds"])
    if "world_model" in said:
        made["world_model"] = WorldModelResult.from_json(said["world_model"])
    if isinstance(said.get("agents"), list):
        made["agents"] = [AgentResult(**read_fields(AgentResult, agent)) for agent in said["agents"]]
    return made


def _of_dataset(said: dict[str, Any]) -> float:
    """The dataset's normalised score, which older versions left out; 0 where what it takes is missing, too."""
    try:
        mean, random, expert = (float(said[name]) for name in REFERENCES)
        return EXPERT * (mean - random) / (expert - random)
    except (LookupError, TypeError, ValueError, ZeroDivisionError):
        return RANDOM


def finished(run: Path) -> Result | None:
    """What a run came to whose last phase is done, views included; None for any other, or where it can't be read."""
    try:
        result = Result.read(run)
    except UserError:  # whose remedy is to go on
        return None
    return result if result is not None and result.finished else None
