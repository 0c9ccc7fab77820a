"""The first phase: fitting the world model (eq. 27), or taking over one that is fitted."""

from collections.abc import Sequence

import torch
from torch import Tensor

from combo_common.seeding import generator, numpy_generator
from data.dataset import TrajectoryDataset
from data.split import Split
from envs.task import Task
from latent_combo.config.recipe import Recipe
from latent_combo.config.schema import Config
from latent_combo.latents.feed import SegmentFeed
from latent_combo.latents.segments import SegmentSampler
from latent_combo.latents.statistics import normaliser_of, reward_std
from latent_combo.numerics.data_parallel import WHOLE, Group, share_of_process
from latent_combo.pipeline.build import build_world_model
from latent_combo.pipeline.loop import Callback, Phase, train_phase
from latent_combo.pipeline.session import Session
from latent_combo.runtime.clocks import Every
from latent_combo.runtime.speed import Meter
from latent_combo.world_model.base import Segment, WorldModel
from latent_combo.world_model.fit import Fit

PHASE = "world_model"


def fit_world_model(
    session: Session, data: TrajectoryDataset, split: Split, callbacks: Sequence[Callback[WorldModel]] = ()
) -> tuple[WorldModel, Meter]:
    """Fit to the training episodes, or go on where a checkpoint stands. Returns the frozen model and its speed.

    Raises what `train_phase` does.
    """
    config, device, seed = session.config.world_model_fit, session.device, session.config.seed
    group = begin_group(session)
    fit, feed = begin_fit(session.config, session.task, device, data, split, group)
    model = fit.model
    saved = session.restore(PHASE, fit) or {}
    if group is not None:
        fit.begin_together()
    validation_sampler = SegmentSampler(data, split.validation, config.length)
    validation = validation_sampler.sample(2 * config.batch, numpy_generator(seed, "held out")).to(device)

    def validate(model: WorldModel, step: int) -> None:
        session.log.write(PHASE, step, _validation_loss(model, validation, seed))
        fit.validate(validation)

    operations = model.operations(validation, generator(seed, device, "flops")) / 2
    meter = Meter("frames", config.batch * config.length, operations, device)
    meter.load_state_dict(saved.get("meter", {}))
    every = Callback(Every(config.validate_every, config.steps), validate, PHASE)
    try:
        train_phase(
            session,
            Phase(
                PHASE,
                "world model",
                model,
                fit,
                config.steps,
                meter,
                "loss",
                [every, *callbacks],
                finish=model.restore_best,
            ),
        )
    finally:
        feed.close()
        fit.close()
    if group is not None:
        group.leave()
    return model.requires_grad_(False), meter


def begin_fit(
    config: Config, task: Task, device: torch.device, data: TrajectoryDataset, split: Split, group: Group | None
) -> tuple[Fit, SegmentFeed]:
    """A fit of a fresh world model to the training episodes, and what feeds it; of a group, a process's share of it."""
    fitted, seed, share = config.world_model_fit, config.seed, WHOLE if group is None else group.share
    model = build_world_model(config, task, device)
    model.set_normaliser(lambda: normaliser_of(data, split.train))
    model.set_reward_std(reward_std(data, split.train))
    model.set_share(share)
    sampler = SegmentSampler(data, split.train, fitted.length, fitted.episode_start_fraction)
    draws = generator(seed, device, "world model")
    feed = SegmentFeed(sampler, fitted.batch, seed, fitted.random_shift, draws, share)
    return Fit(model, fitted, feed, draws, feed.prepare, config.cuda_graphs, group=group), feed


def begin_group(session: Session) -> Group | None:
    """Join the processes that `torchrun` started for this run, if it did, and tell them which run it is."""
    if share_of_process() == WHOLE:
        return None
    group = Group.joined()
    group.tell(str(session.out.resolve()))
    return group


def keep_pretrained(session: Session, model: WorldModel, recipe: Recipe) -> int:
    """Make a fitted world model the run's own, so that all that reads runs finds it. Returns the steps of its fit."""
    steps = recipe.steps or 0
    if PHASE not in session.saved:
        fit = {"model": model.state_dict(), "step": steps, "stopped": True}
        session.save(PHASE, steps, {"fit": fit, "recipe": recipe.to_json()}, wait=True)
    return steps


@torch.no_grad()
def _validation_loss(model: WorldModel, segment: Segment, seed: int) -> dict[str, Tensor]:
    """The training loss of held-out segments, always with the same noise."""
    _, metrics = model.loss(segment, generator(seed, segment.action.device, "held out"))
    return {f"validation_{name}": value for name, value in metrics.items()}
