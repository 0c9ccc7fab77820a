"""What a run begins with: its data, its split, and a fitted world model if it is given one."""

from pathlib import Path

from data.dataset import TrajectoryDataset
from data.load import Storage, load
from data.split import Split, split_episodes
from envs.task import Task
from latent_combo.config.recipe import Recipe
from latent_combo.config.schema import Config
from latent_combo.pipeline.build import load_pretrained
from latent_combo.pipeline.checks import check_endings, check_learnable, check_lengths
from latent_combo.pipeline.same_data import require_data_of, require_same_data
from latent_combo.pipeline.session import Session
from latent_combo.runtime import checkpoint
from latent_combo.runtime.run_folder import WORLD_MODEL
from latent_combo.world_model.base import WorldModel
from latent_combo.world_model.termination_fns import LEARNED

STORAGE: dict[bool | None, Storage] = {None: "auto", True: "memmap", False: "memory"}
"""Where the setting `mapped` leaves images."""
LEAST_LENGTH = 2
"""Rows of an episode that agents can be trained on."""


def load_data(config: Config, task: Task) -> TrajectoryDataset:
    """The dataset of a run. Raises UserError for one that can't be read, or does not fit."""
    storage = STORAGE[config.mapped]
    return load(config.dataset, task, config.observation_spec, config.data_folder, storage, config.skip_corrupt)


def prepare(session: Session) -> tuple[TrajectoryDataset, Split, tuple[WorldModel, Recipe] | None]:
    """Load the dataset, split it, read a fitted world model, and check them, before anything is written.

    Raises UserError for a dataset or a model that does not fit the settings.
    """
    config = session.config
    with session.timer.section("data"):
        data = load_data(config, session.task)
    if session.resumes:
        with session.changes.noting():
            require_same_data(session.out, config, data)
    split = split_episodes(len(data.lengths), config.validation_fraction, config.seed_of_split)
    pretrained = None
    if not config.has_world_model:
        check_lengths(data, *split, LEAST_LENGTH)
        return data, split, None
    pixels = config.observation_spec.pixels
    learned = config.rssm.discount_head if pixels else session.task.termination == LEARNED
    check_endings(data, session.task, config.dataset, learned)
    if config.world_model is not None:
        own = session.resumes and checkpoint.exists(session.out / WORLD_MODEL)
        source = session.out if own else Path(config.world_model)
        pretrained = load_pretrained(source, config, session.task, session.device)
        with session.changes.noting():
            require_data_of(pretrained[1], config, data)
    elif learned:
        check_learnable(data, split.train, config.world_model_fit.length, config.dataset)
    check_lengths(data, *split, config.world_model_fit.length if pretrained is None else LEAST_LENGTH)
    return data, split, pretrained
