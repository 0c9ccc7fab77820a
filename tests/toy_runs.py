"""Whole runs at toy size, for the tests of what a run leaves and of what reads it."""

import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

from matplotlib.backends.backend_agg import FigureCanvasAgg

from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.simulate.rollout import PolicySpec, played_episodes
from envs import builtin, registry
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.evaluation.result_parts import WorldModelResult
from latent_combo.runtime.media import MediaWriter

TOY = """
    --preset quickstart --dataset tiny --world_model_fit.steps 6 --world_model_fit.batch 2
    --world_model_fit.length 8 --agent.batch 16 --agent.num_agents 2
    --agent_fit.updates 8 --agent_fit.warm_up 2 --agent_fit.evaluations 2 --agent_fit.rollout_batch_size 10
    --score.episodes 1
    --score.episodes_during_training 1 --views.every 4 --views.clips 1 --views.segments 8 --views.episodes 2
    --log_every 2 --save_every 4 --device cpu --products mkl
    --rssm.conv.ways=[plain,plain,plain,product,plain,plain]
    --rssm.conv.encoder_channels=[4,4,8] --rssm.conv.decoder_channels=[8,4]
    --rssm.conv.decoder_input=16 --rssm.dynamics.deterministic 16 --rssm.dynamics.hidden 16
    --rssm.dynamics.stochastic 4 --agent.network.hidden 16 --agent.actor_network.hidden 16 --agent.gamma 0.9
"""

HORIZON = 70
"""Steps of an episode: the longest prediction takes 10 and 50, and has some places where it may start."""
SHORT = replace(registry.get_task("walker-walk"), horizon=HORIZON)


@contextmanager
def short_episodes() -> Iterator[None]:
    """The walker's episodes are short: every step of a score is drawn, and 500 of them are most of a toy run's time."""
    with mock.patch.dict(builtin.BUILTIN, {SHORT.name: SHORT}):
        yield


@contextmanager
def undrawn() -> Iterator[None]:
    """While this is on, runs measure and draw nothing of their world models and agents, but train and score them."""
    module = importlib.import_module("latent_combo.train")
    instead = {
        "measure_model": lambda *given: WorldModelResult(),
        "show": lambda *given: {"q_data": 1.0},
        "write_pages": lambda *given: None,
    }
    with mock.patch.dict(vars(module), instead), mock.patch.object(MediaWriter, "_submit", lambda gallery, work: None):
        yield


def blank_figures() -> AbstractContextManager[object]:
    """While this is on, figures are made and kept, but blank: laying out their text is most of a toy run's time."""
    return mock.patch.object(FigureCanvasAgg, "draw", lambda canvas: canvas.get_renderer())


def record(data_dir: Path) -> Path:
    """Record three short episodes of random actions in a data folder, as `tiny`."""
    recorded = played_episodes(SHORT, PolicySpec(), 3, seed=0)
    with short_episodes():
        write_dataset(data_dir / "tiny", recorded, describe(SHORT, "random", 0, {}))
    return data_dir


def toy(data_dir: Path, out: Path, *more: str) -> Config:
    """The config of a run on the three episodes of `data_dir`."""
    return parse([*TOY.split(), "--data_dir", str(data_dir), "--out", str(out), *more])[0]
