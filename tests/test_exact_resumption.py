"""Agents that are saved anywhere and go on are those of one go, to the bit, by every algorithm."""

from pathlib import Path

import pytest
import torch
from test_checkpoint import same
from toy_pendulum import TASK, registered

from combo_common.seeding import generator
from envs.registry import get_task
from envs.task import Task
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.frames import FrameDataset, FrameStack
from latent_combo.agent.offline import OfflineDataset, transitions_of
from latent_combo.agent.replay import EncodedDataset
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.pipeline.agent_phase import begin
from latent_combo.pipeline.build import build_agent, build_frame_stack, build_world_model
from latent_combo.runtime import checkpoint
from latent_combo.world_model.base import WorldModel

CPU = torch.device("cpu")
UPDATES = 8
SIZES = f"""
    --preset quickstart --device cpu --products mkl --agent.num_agents 2 --agent.batch 8 --agent.network.hidden 8
    --agent.actor_network.hidden 8 --ensemble.hidden 8
    --agent.num_sampled_actions 10 --agent_fit.updates {UPDATES} --agent_fit.warm_up 2 --agent_fit.rollout_every 3
    --agent_fit.rollout_batch_size 6 --agent_fit.rollout_length 2 --agent_fit.model_retain_rounds 2
    --agent.policy_average 0.9 --agent_fit.final_learning_rate 0.1
"""
OF_IMAGES = """
    --obs pixels --rssm.conv.encoder_channels=[4,4,8] --rssm.conv.decoder_channels=[8,4] --rssm.conv.decoder_input=16
    --rssm.dynamics.deterministic 8 --rssm.dynamics.hidden 8 --rssm.dynamics.stochastic 4
    --agent.encoder.channels 4 --agent.encoder.layers 2 --agent.encoder.projection 8
"""
EPISODES, ROWS = 4, 9


def dataset(config: Config, model: WorldModel | FrameStack) -> OfflineDataset:
    """Rows of any numbers, as features or as frames."""
    draws, count = generator(0, CPU, "rows"), EPISODES * ROWS
    number = torch.arange(count)
    action = torch.rand(count, model.action_dim, generator=draws) * 2.0 - 1.0
    terminal = (number == ROWS - 1).float()
    rows = transitions_of(action, torch.rand(count, generator=draws), terminal, number % ROWS == 0, config.agent)
    if not isinstance(model, FrameStack):
        return EncodedDataset(feature=torch.randn(1, count, model.feature_dim, generator=draws), **rows)
    size = config.rssm.conv.image_size
    frame = torch.randint(256, (count, size, size, 3), generator=draws, dtype=torch.uint8)
    first = number - number % ROWS
    return FrameDataset(frame=frame, place=number, first=first, frames=model.shape[0], shift=2, **rows)


def make(config: Config, task: Task) -> AgentFit:
    """A fit from its first update."""
    model = build_world_model(config, task, CPU) if config.has_world_model else build_frame_stack(config, task)
    if isinstance(model, torch.nn.Module):
        model.requires_grad_(False)
    return begin(config, build_agent(config, task, model, CPU), model, dataset(config, model), CPU)


@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_a_fit_that_is_saved_and_goes_on_is_that_of_one_go(name: str, tmp_path: Path) -> None:
    obs = ALGORITHMS[name].obs or "state"
    seen = OF_IMAGES.split() if obs == "pixels" else ["--obs", "state"]
    config = parse([*seen, "--algorithm", name, *SIZES.split(), "--out", str(tmp_path)])[0]
    with registered():
        task = TASK if obs == "state" else get_task("walker-walk")
        whole = make(config, task)
        rows = [{key: value.clone() for key, value in metrics.items()} for metrics in whole]
        parts = make(config, task)
        for step in range(UPDATES):
            if step in (1, 5):  # in the warm-up, and between two rounds of rollouts
                checkpoint.save(tmp_path / "agent", step, {"fit": parts.state_dict()})
                parts = make(config, task)
                parts.load_state_dict(checkpoint.load(tmp_path / "agent", CPU)["fit"])
            assert same(parts.take_step(), rows[step]), step
    assert whole.done() and parts.done()
    assert same(parts.state_dict(), whole.state_dict())
    if whole.buffer is not None and parts.buffer is not None:
        assert int(whole.buffer.size) == 24 and torch.equal(parts.buffer.rows, whole.buffer.rows)
        assert whole.state_dict()["buffer"] is None, "nothing draws from it any more"


def test_a_buffer_of_another_size_is_refused(tmp_path: Path) -> None:
    config = parse([*("--obs", "state"), *SIZES.split(), "--out", str(tmp_path)])[0]
    with registered():
        fit = make(config, TASK)
        fit.take_step()
        fewer = parse([*("--obs", "state"), *SIZES.split(), "--agent_fit.model_retain_rounds", "1", "--out", "x"])[0]
        for _ in range(3):
            fit.take_step()
        with pytest.raises(ValueError, match=r"transitions \(2, 24, .*\) are not those of \(2, 12, "):
            make(fewer, TASK).load_state_dict(fit.state_dict())
