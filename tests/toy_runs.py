"""Whole runs at toy size, for the tests of what a run leaves and of what reads it."""

from pathlib import Path

from latent_combo.config import Config, parse

TOY = """
    --preset quickstart --dataset tiny --fit.steps 6 --fit.batch 2 --fit.length 8 --agent.batch 16 --agent.stack 2
    --agent_fit.updates 8 --agent_fit.looks 2 --agent_fit.branches 10 --score.episodes 1
    --score.episodes_during_training 2 --views.every 4 --views.clips 1 --views.segments 8 --log_every 2 --save_every 4
    --device cpu
    --world_model.conv.encoder_channels=[4,4,8] --world_model.conv.decoder_channels=[8,4]
    --world_model.conv.decoder_input=16 --world_model.rssm.deterministic 16 --world_model.rssm.hidden 16
    --world_model.rssm.stochastic 4 --agent.network.hidden 16 --agent.actor_network.hidden 16
"""


def toy(data_dir: Path, out: Path, *more: str) -> Config:
    """The config of a run on the three episodes of `data_dir`."""
    return parse([*TOY.split(), "--data_dir", str(data_dir), "--out", str(out), *more])[0]
