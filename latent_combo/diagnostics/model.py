"""The views of a world model: what is measured and drawn of it, while it is fitted and when it is done."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from combo_common.seeding import generator
from data.dataset import TrajectoryDataset
from envs.task import Task
from latent_combo.diagnostics.held_out import CONTEXT, DiagnosticSet
from latent_combo.diagnostics.own_views import OWN_VIEWS
from latent_combo.diagnostics.panels.belief import believe
from latent_combo.diagnostics.panels.composite import composite_clip
from latent_combo.diagnostics.panels.dreams import draw_dreams, dream_apart, dreams_clip
from latent_combo.diagnostics.panels.horizon import draw_horizon
from latent_combo.diagnostics.panels.latents import draw_latent_kl, latent_kl
from latent_combo.diagnostics.panels.probes import Floats, draw_probes, probe, probed_figures, real_vs_imagined_accuracy
from latent_combo.diagnostics.settings import ViewsConfig
from latent_combo.diagnostics.style import to_png
from latent_combo.latents.encode import encode_episodes, rows_of
from latent_combo.latents.settings import EncodeConfig
from latent_combo.runtime.media import Frames, MediaWriter, Numbers
from latent_combo.runtime.run_folder import PICTURES
from latent_combo.runtime.vector_log import VectorLog
from latent_combo.world_model.base import WorldModel
from latent_combo.world_model.open_loop import OpenLoop, open_loop

CLIP_FPS = 10
PROJECTOR_POINTS = 500
PROBE_EPISODES = 20
"""Training episodes, at most, that the probes are fitted to, and held-out ones that they are tried on; and training
episodes that `visualise` values pairs of."""
MAX_TRANSITIONS = 4_000
"""Transitions, at most, that are held against imagined ones."""


Encoded = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]
"""Features (N, F) of whole episodes, their rows (N,) of the dataset, and their times (N,) in the episode."""


@dataclass(frozen=True)
class DiagnosticsContext:
    """What all views of a run draw on."""

    task: Task
    data: TrajectoryDataset
    train: NDArray[np.int64]
    """Episodes that were trained on."""
    validation: NDArray[np.int64]
    """Episodes that were not."""
    pieces: DiagnosticSet
    gallery: MediaWriter
    encode: EncodeConfig
    seed: int
    device: torch.device

    @classmethod
    def choose(
        cls,
        task: Task,
        data: TrajectoryDataset,
        split: tuple[NDArray[np.int64], NDArray[np.int64]],
        gallery: MediaWriter,
        views: ViewsConfig,
        encode: EncodeConfig,
        seed: int,
        device: torch.device,
    ) -> "DiagnosticsContext":
        """Choose the pieces of held-out episodes; `split` is the episodes trained on, and the others."""
        pieces = DiagnosticSet.choose(data, *split, views.clips, views.segments, seed, device)
        return cls(task, data, *split, pieces, gallery, encode, seed, device)

    def draws(self, purpose: str) -> torch.Generator:
        """A generator of its own, the same at every step, so that pictures of different steps can be compared."""
        return generator(self.seed, self.device, f"views, {purpose}")


class ModelViews:
    """Draws a world model of any kind of observations that has pictures."""

    def __init__(self, context: DiagnosticsContext) -> None:
        self.context, self.gallery, self.pieces = context, context.gallery, context.pieces
        self.track = VectorLog(self.gallery.run / PICTURES / "latent_kl.npz")
        self.figures: dict[str, Any] = {}
        """What `after` found: `real_vs_imagined_accuracy`, and `probes`, the R² of the simulator's numbers, if any."""

    def during(self, model: WorldModel, step: int) -> OpenLoop:
        """Draw what changes while the model is fitted: the clips, and how far it predicts."""
        self.clips(model, step, keep=False)
        return self.horizon(model, step, keep=False)

    def after(self, model: WorldModel, step: int) -> OpenLoop:
        """Draw all, and keep it in the run's folder."""
        self.clips(model, step, keep=True)
        predictions = self.horizon(model, step, keep=True)
        dreams = dream_apart(model, self.pieces.shown, CONTEXT)
        if self.pieces.images:
            self._clip("dreams", step, partial(dreams_clip, dreams), True, dreams.arrays())
        else:
            names = self.context.task.state_names
            self._picture("dreams", step, lambda: to_png(draw_dreams(dreams, names)), True, dreams.arrays())
        if step > max(self.track.read()[0], default=-1):
            self.note_latents(model, step)
        steps, kl = self.track.read()
        if steps:
            self._picture("latent_kl", step, lambda: to_png(draw_latent_kl(steps, kl)), True)
        validation = self._features(model, self.context.validation)
        train = self._features(model, self.context.train)
        self.projector(validation, step)
        self.probes(train, validation, step)
        draws = self.context.draws("told apart")
        sides = (*self._followed(model, train, draws), *self._followed(model, validation, draws))
        self.figures["real_vs_imagined_accuracy"] = real_vs_imagined_accuracy(*sides)
        self.own(model, step)
        return predictions

    def own(self, model: WorldModel, step: int) -> None:
        """Draw the views that somebody added."""
        for name, added in OWN_VIEWS.items():
            self._picture(name, step, partial(to_png, added.draw(model, self.pieces.measured)), True, added.words())

    def clips(self, model: WorldModel, step: int, keep: bool) -> None:
        """The composite clip of each held-out episode that is shown."""
        for index, belief in enumerate(believe(model, self.pieces.shown, CONTEXT)):
            draw = partial(composite_clip, belief, self.pieces.titles[index], self.context.task.state_names)
            self._clip(f"held_out_{index}", step, draw, keep, belief.arrays())

    def horizon(self, model: WorldModel, step: int, keep: bool) -> OpenLoop:
        """Measure prediction against its baselines, and draw the curves."""
        pieces = self.pieces
        draws = self.context.draws("horizon")
        predictions = open_loop(
            model, pieces.measured, pieces.mean, CONTEXT, draws, pieces.horizons, pieces.scale, pieces.vectors
        )
        numbers = {
            field: np.array([list(values), list(values.values())]) for field, values in predictions.figures().items()
        }
        self._picture("horizon", step, lambda: to_png(draw_horizon(predictions, CONTEXT)), keep, numbers)
        return predictions

    def note_latents(self, model: WorldModel, step: int) -> None:
        """Note the KL of each dimension at this step."""
        row = latent_kl(model, self.pieces.shown)
        if row is not None:
            self.track.append(step, row)

    def projector(self, validation: Encoded, step: int) -> None:
        """Put features of held-out episodes into the projector, with thumbnails, rewards and times."""
        data = self.context.data
        feature, rows, time = validation
        some = np.linspace(0, len(rows) - 1, min(PROJECTOR_POINTS, len(rows))).astype(int)
        episode = np.searchsorted(data.starts, rows[some], side="right") - 1
        columns = {"reward": data.reward[rows[some]], "time": time[some], "episode": episode}
        pictures = data.observation[rows[some]] if self.pieces.images else None
        metadata: Mapping[str, Any] = {name: values.tolist() for name, values in columns.items()}
        self.gallery.board.embedding("features", feature[some], metadata, pictures, step)

    def probes(self, train: Encoded, validation: Encoded, step: int) -> None:
        """Read the simulator's state from features by linear probes, where the recording has one."""
        data, task = self.context.data, self.context.task
        if data.physics is None:
            return
        (feature, rows, _), (other, other_rows, _) = train, validation
        target, names = probed_figures(data.physics, task.physics_names, task.unbounded_angles)
        r_squared = probe(feature.astype(np.float64), target[rows], other.astype(np.float64), target[other_rows])
        numbers = {"r_squared": r_squared, "name": np.array(names)}
        self.figures["probes"] = dict(zip(names, r_squared.tolist(), strict=True))
        self._picture("probes", step, lambda: to_png(draw_probes(r_squared, names)), True, numbers)

    def _followed(self, model: WorldModel, encoded: Encoded, draws: torch.Generator) -> tuple[Floats, Floats]:
        """The features after MAX_TRANSITIONS transitions at most, and what the model imagines in their place."""
        feature, rows, time = encoded
        starts = np.flatnonzero(np.diff(time) == 1)
        starts = starts[np.linspace(0, len(starts) - 1, min(MAX_TRANSITIONS, len(starts))).astype(int)]
        device = self.context.device
        action = torch.from_numpy(self.context.data.action[rows[starts + 1]]).to(device)
        imagined = model.imagine_step(torch.from_numpy(feature[starts]).to(device), action, draws).feature
        return feature[starts + 1].astype(np.float64), imagined.cpu().numpy().astype(np.float64)

    def _clip(self, name: str, step: int, draw: Callable[[], Frames], keep: bool, numbers: Numbers) -> None:
        self.gallery.clip(f"world_model/{name}", step, draw, CLIP_FPS, name if keep else None, numbers)

    def _picture(
        self, name: str, step: int, draw: Callable[[], bytes], keep: bool, numbers: Numbers | None = None
    ) -> None:
        self.gallery.picture(f"world_model/{name}", step, draw, name if keep else None, numbers)

    def _features(self, model: WorldModel, episodes: NDArray[np.int64]) -> Encoded:
        """Encode at most PROBE_EPISODES of the episodes, whole."""
        context, episodes = self.context, evenly_chosen(episodes, PROBE_EPISODES)
        pieces = encode_episodes(model, context.data, episodes, context.encode, context.draws("features"))
        rows = [np.arange(row.start, row.stop) for row in rows_of(context.data, episodes)]
        time = np.concatenate([np.arange(len(r)) for r in rows])
        return torch.cat(pieces).cpu().numpy(), np.concatenate(rows), time


def evenly_chosen(episodes: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the episodes, evenly over all of them: a replay's first are its worst."""
    chosen = np.linspace(0, len(episodes) - 1, min(most, len(episodes))).astype(int)
    return np.asarray(episodes[chosen])
