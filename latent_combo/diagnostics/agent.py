"""The views of an agent: what it values, what it expects, and what the model would have come of other actions."""

from collections.abc import Callable
from contextlib import closing
from functools import partial

import numpy as np
import torch

from combo_common.errors import UserError
from envs.task import ObservationSpec, Task
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.frames import FrameStack
from latent_combo.agent.offline import OfflineDataset
from latent_combo.diagnostics.held_out import CONTEXT
from latent_combo.diagnostics.model import DiagnosticsContext
from latent_combo.diagnostics.panels.acting import imagine_policy
from latent_combo.diagnostics.panels.calibration import Calibration, calibrate, correlations, draw_calibration
from latent_combo.diagnostics.panels.conservatism import Values, achieved, draw_conservatism, sample_values
from latent_combo.diagnostics.panels.counterfactual import counterfactual, draw_counterfactual, draw_paths
from latent_combo.diagnostics.style import Frames, titled, to_png
from latent_combo.evaluation.branches import Branches
from latent_combo.evaluation.film import film
from latent_combo.evaluation.score import Score
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.tensorboard import TensorBoardLog
from latent_combo.world_model.base import Segment, WorldModel

DREAM_STEPS = 50
"""Steps of a dream that is compared with what the policy got."""
COUNTERFACTUAL_STEPS = 15
"""Steps of the counterfactual strip."""
MEDIAN, WORST = "policy", "worst"
"""The names of the clips of the first agent's episodes of median and of least return."""
PREVIEW_FRAMES = 60
"""Frames of a clip in TensorBoard."""
CALIBRATION_STEPS = (1, 5)
"""Steps ahead at which disagreement is held against the true error."""


def show_values(
    board: TensorBoardLog,
    agent: ConservativeActorCritic,
    model: WorldModel | FrameStack,
    dataset: OfflineDataset,
    horizon: int,
    step: int,
    draws: torch.Generator,
) -> Values:
    """Log, and return, the distributions of Q on pairs of the dataset, of the model, and with random actions."""
    imagined = None if isinstance(model, FrameStack) else model
    values = sample_values(agent, imagined, dataset, horizon, draws)
    for kind, part in values.kinds().items():
        board.histogram(f"values/{kind}_pairs", part, step)
    return values


def show_films(gallery: MediaWriter, task: Task, look: str, score: Score, step: int) -> None:
    """Show the first agent's episodes of median and of least return: whole as mp4, their beginnings in TensorBoard.

    Where nothing can be drawn, as on a machine without a GL library, a line says so.
    """
    if score.median is None or score.worst is None:
        return  # no episode was played, which the result says
    for name, episode, title in (
        (MEDIAN, score.median, score.filmed),
        (WORST, score.worst, score.filmed_worst),
    ):
        try:
            frames, rate = film(task, look, episode)
        except UserError as error:
            print(f"no film of the policy: {error}")
            return
        show_clip(gallery, name, titled(frames, title), rate, step)


def show_clip(gallery: MediaWriter, name: str, frames: Frames, rate: int, step: int) -> None:
    """Keep frames (T, H, W, 3) as a clip of the agent, and show the first of them in TensorBoard."""
    gallery.clip(f"agent/{name}", step, lambda: frames, rate, name, preview=lambda whole: whole[:PREVIEW_FRAMES])


class AgentViews:
    """Draws a trained agent; asks the simulator what other actions would have led to, where it can be set back."""

    def __init__(
        self,
        context: DiagnosticsContext,
        model: WorldModel | FrameStack,
        agent: ConservativeActorCritic,
        observation_spec: ObservationSpec,
        simulate: bool = True,
    ) -> None:
        """Draw with what an agent values, and what it imagines where there is a world model.

        Without `simulate` no environment is made.
        """
        self.simulate = simulate
        self.context, self.gallery, self.pieces = context, context.gallery, context.pieces
        self.filter, self.agent, self.observation_spec = model, agent, observation_spec

    @property
    def model(self) -> WorldModel:
        """The world model, where there is one."""
        assert isinstance(self.filter, WorldModel)
        return self.filter

    def after(self, dataset: OfflineDataset, horizon: int, played: Segment | None, step: int) -> dict[str, float]:
        """Draw all, and keep it in the run's folder. Returns the figures that sum it up."""
        found = {"validation_episodes": float(self.pieces.episodes)}
        found |= self.conservatism(dataset, horizon, played, step)
        if isinstance(self.filter, FrameStack):
            return found
        if self.simulate and self.pieces.physics is not None:
            try:
                with closing(Branches(self.context.task, self.observation_spec)) as branches:
                    return found | self.compared(branches, step)
            except UserError as error:
                print(f"no outcomes of other actions in the views: {error}")
        return found | self.compared(None, step)

    def compared(self, branches: Branches | None, step: int) -> dict[str, float]:
        """What the model says against what happened; other actions than the data's only where they can be tried."""
        found: dict[str, float] = {}
        for steps in CALIBRATION_STEPS:
            found |= self.calibration(branches, steps, step)
        self.counterfactual_picture(branches, step)
        return found

    def conservatism(
        self, dataset: OfflineDataset, horizon: int, played: Segment | None, step: int
    ) -> dict[str, float]:
        """Values by kind of pair, and against what the first agent achieved in the episodes that it `played`."""
        values = show_values(
            self.gallery.board, self.agent, self.filter, dataset, horizon, step, self.context.draws("values")
        )
        draws = self.context.draws("conservatism")
        found = {f"q_{kind}": float(part.mean()) for kind, part in values.kinds().items()}
        numbers = {f"q_{kind}": part for kind, part in values.kinds().items()}
        outcome = None
        if played is not None:
            played = played.to(self.context.device)
            steps = max(1, min(DREAM_STEPS, played.action.shape[1] - 1 - CONTEXT))
            model, believed = self._filtered(played, draws)
            outcome = achieved(self.agent, model, believed, played, steps, CONTEXT, draws)
            numbers |= outcome.arrays()
            found |= outcome.figures()
        self.gallery.picture(
            "agent/conservatism", step, lambda: to_png(draw_conservatism(values, outcome)), "conservatism", numbers
        )
        return found

    def calibration(self, branches: Branches | None, steps: int, step: int) -> dict[str, float]:
        """Disagreement against the true error, under actions of the dataset, of the policy, and at random."""
        draws = self.context.draws("calibration")
        measured = self.pieces.measured
        feature = self._seen(measured, draws)
        now = slice(CONTEXT, CONTEXT + steps)
        future = measured.rows(now)
        kinds = {"dataset": (future.action, future.observation, future.vector)}
        if branches is not None and self.pieces.physics is not None:
            policy = imagine_policy(self.model, self.agent.acting, self.agent.num_agents, feature, steps, draws).action
            random = torch.rand(policy.shape, generator=draws, device=draws.device) * 2.0 - 1.0
            for kind, action in (("policy", policy), ("random", random)):
                came = branches.follow(self.pieces.physics, action.cpu().numpy())
                seen, vector = (
                    None if part is None else torch.from_numpy(part).to(self.context.device)
                    for part in (came.observation, came.vector)
                )
                assert seen is not None
                kinds[kind] = (action, seen, vector)
        points: dict[str, Calibration] = {
            kind: calibrate(self.model, feature, action, truth, self.pieces.scale, draws, vectors)
            for kind, (action, truth, vectors) in kinds.items()
        }
        numbers = {f"{kind}_{name}": part for kind, p in points.items() for name, part in vars(p).items()}
        source = f"{len(feature)} states of {self.pieces.episodes} held-out episodes, seen for {CONTEXT} steps"
        self.gallery.picture(
            f"agent/calibration_{steps}",
            step,
            lambda: to_png(draw_calibration(points, steps, source)),
            f"calibration_{steps}",
            numbers,
        )
        return {f"{name}_at_{steps}": figure for name, figure in correlations(points).items()}

    def counterfactual_picture(self, branches: Branches | None, step: int) -> None:
        """What would come of other actions, from the measured state that had the best future."""
        draws = self.context.draws("counterfactual")
        measured = self.pieces.measured
        steps = min(COUNTERFACTUAL_STEPS, measured.action.shape[1] - CONTEXT)
        future = measured.reward[:, CONTEXT : CONTEXT + steps].sum(1)
        best = int(future.argmax())
        feature = self._seen(measured, draws)[best]
        recorded = measured.action[best, CONTEXT : CONTEXT + steps]
        policy = imagine_policy(
            self.model, self.agent.acting, self.agent.num_agents, feature[None], steps, draws
        ).action[0]
        actions = {
            "dataset": recorded,
            "policy": policy,
            "zero": torch.zeros_like(recorded),
            "mirrored": -recorded,
        }
        true = None
        if branches is not None and self.pieces.physics is not None:
            states = np.repeat(self.pieces.physics[best][None], len(actions), 0)
            came = branches.follow(states, torch.stack(list(actions.values())).cpu().numpy())
            true = came.observation, came.reward
        made = counterfactual(self.model, feature, measured.observation[best, CONTEXT - 1], actions, true)
        draw = draw_counterfactual if self.pieces.images else partial(draw_paths, names=self.context.task.state_names)
        self.gallery.picture("agent/counterfactual", step, lambda: to_png(draw(made)), "counterfactual", made.arrays())

    def _filtered(
        self, played: Segment, draws: torch.Generator
    ) -> tuple[WorldModel | None, Callable[[torch.Tensor], torch.Tensor]]:
        """The world model, if there is one, and what is believed (B, T, ...) at rows (T,) of whole episodes."""
        if isinstance(self.filter, FrameStack):
            return None, partial(self.filter.stacks, played.observation)
        sampled = draws if self.context.encode.sample else None
        feature, _ = self.model.observe(played.observation, played.action, sampled, played.vector)
        return self.model, lambda rows: feature[:, rows]

    def _seen(self, segment: Segment, draws: torch.Generator) -> torch.Tensor:
        """Features (B, F) after the context."""
        sampled = draws if self.context.encode.sample else None
        seen = segment.rows(slice(CONTEXT))
        return self.model.observe(seen.observation, seen.action, sampled, seen.vector)[0][:, -1]
