"""Between the phases: the dataset in a world model's latents."""

from dataclasses import replace

from combo_common.seeding import generator
from data.dataset import TrajectoryDataset
from data.split import Split
from latent_combo.agent.replay import EncodedDataset
from latent_combo.latents.encode import encode_dataset
from latent_combo.pipeline.session import Session
from latent_combo.world_model.base import WorldModel


def encode(
    session: Session, model: WorldModel, data: TrajectoryDataset, split: Split
) -> tuple[EncodedDataset, EncodedDataset]:
    """The episodes to train on and those held out, as features; what is measured on the latter is of all rows alike."""
    config = session.config
    with session.timer.section("latents"):
        draws = generator(config.seed, session.device, "latents")
        dataset = encode_dataset(model, data, split.train, config.encode, config.agent, draws)
        alike = replace(config.agent, episode_start_fraction=0.0)
        held_out = encode_dataset(model, data, split.validation, config.encode, alike, draws, "encoding held-out")
        return dataset, held_out
