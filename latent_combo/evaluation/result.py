"""What a run came to: `result.json`, written, read back, and told to people."""

import json
import math
import shlex
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from combo_common.bounded_json import read_json
from combo_common.errors import UserError
from combo_common.figures import figure
from combo_common.files import write_atomically
from combo_common.reason import reason
from combo_common.symbols import plus_minus
from combo_common.versions import versions
from envs.task import Task
from latent_combo.agent.algorithms import has_world_model
from latent_combo.evaluation.fields import FieldError, read_fields
from latent_combo.evaluation.interim import InterimScores
from latent_combo.evaluation.result_parts import AgentResult, DatasetReturns, Setting, WorldModelResult, mean_of
from latent_combo.evaluation.vd4rl import vd4rl_score
from latent_combo.runtime.renamed import result_now
from latent_combo.runtime.run_command import run_command
from latent_combo.runtime.run_folder import REPORT

if TYPE_CHECKING:  # it takes torch, which those who read results do without
    from latent_combo.evaluation.score import Score

RESULT = "result.json"
MOST_AGENTS, MOST_LETTERS = 1000, 1000
"""Of a stack, and of what tells an agent from the others."""
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
    """Episodes of all agents together that were played to their end, and are what the scores are of."""
    failed: list[str] = field(default_factory=list)
    """Episodes that do not count, since their environment ended them with an error: agent, seed, step and error."""
    return_mean: float | None
    return_std: float | None
    normalised_score: float | None
    """Of `return_mean`: 0 is a random policy, 100 an expert; None, as these two, where no episode was played."""
    vd4rl_score: float | None = None
    """V-D4RL's, a tenth of `return_mean`; None for a task that is not dm_control's."""
    success_rate: float | None = None
    """Share of episodes that end with the task done; None for a task whose reward does not tell."""
    dataset_return_mean: float
    dataset_return_max: float | None = None
    dataset_return_drawn: float | None = None
    """See `DatasetReturns`; None in a file of an older version."""
    random_return: float | None
    expert_return: float | None
    """What scores are normalised by; None where nobody measured them, and then there are no normalised scores."""
    dataset_normalised_score: float | None
    """Of `dataset_return_mean`."""
    random_normalised_score: float | None = RANDOM
    expert_normalised_score: float | None = EXPERT
    agents: list[AgentResult]
    selected: int | None = None
    """The agent that the offline rule chose before anything was scored, and that the scores above are of; None: they
    are of all."""
    rank_correlation: float | None = None
    """Spearman's correlation of the rule with the agents' last interim scores, which the rule did not see: 1 where the
    lowest regulariser has the highest score. None without a choice, and without such scores."""
    evaluations: InterimScores = field(default_factory=InterimScores)
    world_model: WorldModelResult = field(default_factory=WorldModelResult)
    """Without any figures, null in the file, of an algorithm that has no world model."""
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
    resumed: int = 0
    """How often the run was resumed."""
    changes: list[str] = field(default_factory=list)
    """What was not as before when it was: settings and data that were accepted, the program, the machine."""

    @classmethod
    def of(
        cls,
        task: Task,
        setting: Setting,
        score: "Score",
        agents: Sequence[AgentResult],
        dataset: DatasetReturns,
        *,
        selected: int | None = None,
        rank_correlation: float | None = None,
        evaluations: InterimScores,
        world_model: WorldModelResult,
        rates: dict[str, float | None],
        share_of_matmul: dict[str, float | None],
        seconds: dict[str, float],
        resumed: int = 0,
        changes: Sequence[str] = (),
    ) -> "Result":
        """From the run's parts: all but what the last views find."""
        counted = score.counted
        mean = mean_of(counted)
        return cls(
            task=task.name,
            **vars(setting),
            episodes=int(counted.size),
            failed=[str(failure) for failure in score.failures],
            return_mean=mean,
            return_std=None if mean is None else float(counted.std()),
            normalised_score=None if mean is None else task.normalised_score(mean),
            vd4rl_score=vd4rl_score(task, mean),
            success_rate=score.success_rate(task),
            dataset_return_mean=dataset.mean,
            dataset_return_max=dataset.most,
            dataset_return_drawn=dataset.drawn,
            random_return=task.random_return,
            expert_return=task.expert_return,
            dataset_normalised_score=task.normalised_score(dataset.mean),
            random_normalised_score=RANDOM if task.has_references else None,
            expert_normalised_score=EXPERT if task.has_references else None,
            agents=list(agents),
            selected=selected,
            rank_correlation=rank_correlation,
            evaluations=evaluations,
            world_model=world_model,
            rates=rates,
            share_of_matmul=share_of_matmul,
            versions=versions(),
            seconds=seconds,
            resumed=resumed,
            changes=list(changes),
        )

    def with_diagnostics(self, diagnostics: dict[str, Any], seconds: dict[str, float]) -> "Result":
        """The same with what the last views found, and with the time that was spent until then."""
        return replace(self, diagnostics=diagnostics, seconds=seconds)

    @property
    def finished(self) -> bool:
        """Whether the run's last views are done, too."""
        return bool(self.diagnostics)

    def scores(self) -> dict[str, float]:
        """The figures that sum it up, by their names; none where no episode was played."""
        found = {name: getattr(self, name) for name in ("return_mean", "return_std", "normalised_score")}
        return {name: float(value) for name, value in found.items() if value is not None}

    def unplayed(self) -> str:
        """What there is to say of episodes that were not played, or not to their end; empty where all were."""
        if self.failed:
            rest = f"; the score is of the other {self.episodes}" if self.episodes else "; there is no score"
            more = f", and {len(self.failed) - 1} more (result.json)" if len(self.failed) > 1 else ""
            return f"{len(self.failed)} ended with an error of the environment: {self.failed[0]}{more}{rest}"
        return "" if self.episodes else "no episode was played (score.episodes is 0): there is no score"

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

        def remedy() -> str:
            return f"score it anew: {run_command('train', run)}"

        try:
            said = read_json(path)
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path} can not be read ({error}); {remedy()}") from error
        if not isinstance(said, dict):
            raise UserError(f"{path} holds no result; {remedy()}")
        try:
            return _bounded(cls(**read_fields(cls, _typed(said))))
        except FieldError as error:
            raise UserError(f"{path} is of another version of the program and {reason(error)}; {remedy()}") from error

    def __str__(self) -> str:
        """A few lines for people."""
        differ = any(agent.settings for agent in self.agents)
        means = [figure(agent.return_mean, missing="none") for agent in self.agents]
        labels = [f" ({agent.label})" if differ else "" for agent in self.agents]
        agents = ", ".join(f"{mean}{label}" for mean, label in zip(means, labels, strict=True))
        most = "" if self.dataset_return_max is None else f" (at most {self.dataset_return_max:.1f}{self._drawn()})"
        lines = [
            f"return      {figure(self.return_mean)} {plus_minus()} {figure(self.return_std)} "
            f"over {self.episodes} episodes "
            f"({'of different settings' if differ else 'each agent'}: {agents})"
            if self.episodes
            else "return      none",
            *([f"episodes    {self.unplayed()}"] if self.unplayed() else []),
            *self._selection(),
            *self._beyond_reach(),
            f"dataset     {self.dataset_return_mean:.1f}{most}{self._references()}",
            *self._shares(),
            *([] if self.vd4rl_score is None else [f"V-D4RL      {self.vd4rl_score:.1f} (return / 10)"]),
            f"prediction  {self._prediction()}",
            f"time        {', '.join(f'{name} {s:.0f} s' for name, s in self.seconds.items())}",
        ]
        return "\n".join(lines)

    def _selection(self) -> list[str]:
        """Which agent the offline rule took, and how the rule agrees with scores that it did not see."""
        if self.selected is None:
            return []
        values = ", ".join(figure(agent.regulariser, 2) for agent in self.agents)
        agrees = "" if self.rank_correlation is None else f"; rank correlation with scores {self.rank_correlation:.2f}"
        return [f"selected    agent {self.agents[self.selected].label}, by the regularisers {values}{agrees}"]

    def _beyond_reach(self) -> list[str]:
        """Which agents have values that no rewards could come to."""
        shares = [agent.values_beyond_reach or 0.0 for agent in self.agents]
        if max(shares, default=0.0) < 0.005:
            return []
        told = ", ".join(f"{share:.0%}" for share in shares)
        return [f"values      above what rewards can come to in {told} of held-out pairs: they are wrong there"]

    def _references(self) -> str:
        """The returns of a random policy and of the expert, where somebody measured them."""
        known = {"random": self.random_return, "expert": self.expert_return}
        return "".join(f"   {of} {value:.1f}" for of, value in known.items() if value is not None)

    def _shares(self) -> list[str]:
        """The normalised score, and the share of successes, as far as they are known, on one line."""
        normalised = self.random_return is not None and self.expert_return is not None
        told = [f"normalised  {figure(self.normalised_score)}"] if normalised else []
        told += [] if self.success_rate is None else [f"success {self.success_rate:.0%}"]
        return ["   ".join(told)] if told else []

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
        if not has_world_model(self.algorithm):
            return "no world model"
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
        if vector := figures.get("vector_open_loop_nrmse"):
            told.append("of vectors, the normalised RMSE " + ", ".join(f"{k}: {vector[k]:.3f}" for k in vector))
        return f"{title} at {', '.join(told)}" if told else "none"


def _typed(said: dict[str, Any]) -> dict[str, Any]:
    """A result as JSON has it, with its parts as classes. Raises FieldError for a part that is none."""
    said = result_now(said)
    made = {**said}
    if "dataset_normalised_score" not in said:
        made["dataset_normalised_score"] = _of_dataset(said)
    if "evaluations" in said:
        made["evaluations"] = InterimScores(**read_fields(InterimScores, said["evaluations"]))
    if isinstance(said.get("seconds"), dict):
        made["seconds"] = result_now(said["seconds"])
    if "world_model" in said:
        made["world_model"] = WorldModelResult.from_json(said["world_model"])
    if isinstance(said.get("agents"), list):
        made["agents"] = [AgentResult(**read_fields(AgentResult, agent)) for agent in said["agents"]]
    return made


def _bounded(result: Result) -> Result:
    """The same. Raises FieldError for one that no page and no picture would hold, or whose choice is no agent."""
    if len(result.agents) > MOST_AGENTS:
        raise FieldError(f"lists {len(result.agents)} agents; {MOST_AGENTS} are the most")
    if any(len(agent.label) > MOST_LETTERS for agent in result.agents):
        raise FieldError(f"has a label of more than {MOST_LETTERS} letters")
    if result.selected is not None and not 0 <= result.selected < len(result.agents):
        raise FieldError(f"has {result.selected} for selected, of {len(result.agents)} agents")
    return result


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
