"""Before agents are trained: the dataset in a world model's latents, or as stacked frames."""

from dataclasses import replace

from combo_common.seeding import generator
from data.dataset import TrajectoryDataset
from data.split import Split
from latent_combo.agent.frames import FrameStack
from latent_combo.agent.offline import OfflineDataset
from latent_combo.latents.encode import encode_dataset
from latent_combo.latents.frames import frames_of, stack_frames
from latent_combo.pipeline.session import Session
from latent_combo.world_model.base import WorldModel


def encode(
    session: Session, model: WorldModel | FrameStack, data: TrajectoryDataset, split: Split
) -> tuple[OfflineDataset, OfflineDataset]:
    """The episodes to train on and those held out, as features of a world model or as stacks of frames.

    What is measured on the latter is of all rows alike.
    """
    config = session.config
    alike = replace(config.agent, episode_start_fraction=0.0, trajectory_temperature=None)
    with session.timer.section("latents"):
        if isinstance(model, FrameStack):
            frame = frames_of(data, session.device)
            held_out = stack_frames(frame, data, split.validation, alike, held_out=True)
            return stack_frames(frame, data, split.train, config.agent), held_out
        draws = generator(config.seed, session.device, "latents")
        dataset = encode_dataset(model, data, split.train, config.encode, config.agent, draws)
        return dataset, encode_dataset(model, data, split.validation, config.encode, alike, draws, "encoding held-out")
