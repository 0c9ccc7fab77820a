"""The pieces that a run is shown and measured with, and what the simulator says of them."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from toy_models import PartialWorldModel

from combo_common.errors import UserError
from data.dataset import TrajectoryDataset
from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.load import load_pixels
from data.simulate.rollout import PolicySpec, played_episodes
from envs.make import make
from envs.registry import get_task
from envs.task import ObservationSpec
from envs.vector_env import SubprocessVectorEnv, make_vector_env
from latent_combo.agent.networks import Actor
from latent_combo.agent.settings import NetworkConfig
from latent_combo.diagnostics.held_out import CLIP_ROWS, CONTEXT, DiagnosticSet, mean_reward
from latent_combo.evaluation.branches import Branches
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.evaluation.policy import Policy
from latent_combo.evaluation.score import PlayedEpisode, Score, median_episode
from latent_combo.evaluation.settings import ScoreConfig

TASK = get_task("walker-walk")
CPU = torch.device("cpu")
SIZE = 32
SEEN = ObservationSpec("pixels", "fast", SIZE)


@pytest.fixture(scope="module")
def decoded(tmp_path_factory: pytest.TempPathFactory) -> TrajectoryDataset:
    """Two episodes of random actions, drawn."""
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "tiny", played_episodes(TASK, PolicySpec(), 2, seed=0), describe(TASK, "random", 0, {}))
    return load_pixels("tiny", TASK, "fast", folder, image_size=SIZE, progress=False)


def choose(decoded: TrajectoryDataset, seed: int = 0) -> DiagnosticSet:
    return DiagnosticSet.choose(decoded, np.array([0]), np.array([1]), 3, 12, seed, CPU)


def test_the_same_pieces_every_time_and_only_of_held_out_episodes(decoded: TrajectoryDataset) -> None:
    pieces, again = choose(decoded), choose(decoded)
    assert torch.equal(pieces.measured.action, again.measured.action)
    assert pieces.shown.action.shape == (3, CLIP_ROWS, TASK.action_dim)
    assert pieces.horizons == (1, 5, 15, 50)
    assert pieces.titles == (
        "episode 1, step 0",
        f"episode 1, step {(501 - CLIP_ROWS) // 2}",
        f"episode 1, step {501 - CLIP_ROWS}",
    )
    for shown, start in zip(pieces.shown.action, (0, (501 - CLIP_ROWS) // 2, 501 - CLIP_ROWS), strict=True):
        assert np.array_equal(shown.numpy(), decoded.action[decoded.starts[1] + start :][:CLIP_ROWS])
    assert pieces.episodes == 1
    held_out = decoded.action[decoded.starts[1] :]
    assert all((held_out == action.numpy()).all(1).any() for action in pieces.measured.action[:, 3])
    assert pieces.mean[1] == pytest.approx(mean_reward(decoded, np.array([0])))
    assert pieces.mean[1] == pytest.approx(decoded.reward[1:501].mean(), rel=1e-5)
    train_mean = decoded.observation[:501:25].mean(0)
    assert pieces.mean[0].numpy() == pytest.approx(train_mean, abs=1e-3)


def test_the_simulator_goes_on_from_the_last_seen_row_as_the_recording_does(decoded: TrajectoryDataset) -> None:
    pieces = choose(decoded)
    assert pieces.physics is not None
    steps = slice(CONTEXT, CONTEXT + 3)
    branches = Branches(TASK, SEEN)
    came = branches.follow(pieces.physics[:6], pieces.measured.action[:6, steps].numpy())
    branches.close()
    seen = came.observation
    assert came.vector is None
    assert came.reward == pytest.approx(pieces.measured.reward[:6, steps].numpy(), abs=1e-3)
    recorded = pieces.measured.observation[:6, steps].numpy()
    assert np.abs(seen.astype(int) - recorded.astype(int)).mean() < 0.5  # of 255
    unrelated = pieces.measured.observation[6:12, steps].numpy()
    assert np.abs(seen.astype(int) - unrelated.astype(int)).mean() > 2.0


class Blind(Policy):
    """Acts by the clock alone, differently for each agent."""

    def __init__(self) -> None:
        actor = Actor(2, NetworkConfig(hidden=4, layers=1), 1, TASK.action_dim)
        super().__init__(PartialWorldModel(), actor, 2, 0, False)

    def reset(self, episodes: int, first: int = 0) -> None:
        self.step = 0

    def act(self, observation: torch.Tensor, vector: torch.Tensor | None = None) -> torch.Tensor:
        assert vector is None
        self.step += 1
        action = torch.full((*observation.shape[:2], TASK.action_dim), 0.1)
        action[0] = self.step / 1000
        return action


class Countdown:
    """An environment that the task ends after some steps; it shows and pays their number."""

    observation_space = gymnasium.spaces.Box(0, 255, (4, 4, 3), np.uint8)

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def draw_with(self, other: object) -> None:
        """It draws nothing."""

    def reset(self, seed: int) -> tuple[np.ndarray, dict[str, object]]:
        self.now = 0
        return np.zeros((4, 4, 3), np.uint8), self._info()

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, object]]:
        self.now += 1
        return np.full((4, 4, 3), self.now, np.uint8), float(self.now), self.now == self.steps, False, self._info()

    def _info(self) -> dict[str, object]:
        return {"physics": np.full(TASK.physics_dim, float(self.now)), "state": np.zeros(0, np.float32)}


def test_an_ending_is_recorded_once_and_nothing_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    countdowns = iter([Countdown(steps) for steps in (2, 4, 3, 3)])
    monkeypatch.setattr("envs.vector_env.make", lambda *given: next(countdowns))
    config = ScoreConfig(episodes=2, episodes_during_training=1)
    score = Evaluator(TASK, ObservationSpec("pixels", "fast", 4), 2, config).play(Blind(), 0, 2, record=2)
    played = score.recorded
    assert score.returns.tolist() == [[3.0, 10.0], [6.0, 6.0]] and played is not None
    assert played.terminal.tolist() == [[False, False, True, False, False], [False, False, False, False, True]]
    assert played.reward.tolist() == [[0, 1, 2, 0, 0], [0, 1, 2, 3, 4]]
    assert played.observation[:, :, 0, 0, 0].tolist() == [[0, 1, 2, 2, 2], [0, 1, 2, 3, 4]]
    assert score.last_rewards.tolist() == [[2.0, 4.0], [3.0, 3.0]]
    assert score.median is not None and score.worst is not None
    assert score.median.physics[:, 0].tolist() == [0.0, 1.0, 2.0, 2.0, 2.0]  # the lower of the two is the median
    assert np.array_equal(score.worst.physics, score.median.physics) and score.filmed_worst == "return 3, worst of 2"


def test_episodes_dealt_out_to_processes_are_the_same() -> None:
    hopper, seen, rng = get_task("hopper"), ObservationSpec("state"), np.random.default_rng(0)
    here, dealt = make_vector_env(hopper, seen, 5, 1), make_vector_env(hopper, seen, 5, 2)
    try:
        for count in (5, 3, 1):  # fewer than there are, down to fewer than processes
            seeds = list(range(7, 7 + count))
            for ours, theirs in zip(here.reset(seeds), dealt.reset(seeds), strict=True):
                np.testing.assert_array_equal(ours, theirs)
            for _ in range(4):
                actions = rng.uniform(-1, 1, (count, 3)).astype(np.float32)
                for ours, theirs in zip(here.step(actions), dealt.step(actions), strict=True):
                    np.testing.assert_array_equal(ours, theirs)
    finally:
        dealt.close()


def test_what_goes_wrong_in_a_process_is_said_here() -> None:
    dealt = SubprocessVectorEnv(get_task("hopper"), ObservationSpec("pixels", "ugly"), 2, 2)
    with pytest.raises(UserError, match="unknown look 'ugly'"):
        dealt.reset([0, 1])
    dealt.close()


def test_the_film_is_of_the_median_episode() -> None:
    assert median_episode(np.array([5.0])) == 0
    assert median_episode(np.array([9.0, 2.0])) == 1
    assert median_episode(np.array([9.0, 2.0, 5.0])) == 2
    states = np.zeros((2, 18))
    played = PlayedEpisode(0, states)
    score = Score(np.array([[900.0, 200.0, 500.0], [1.0, 2.0, 3.0]]), played, played, np.zeros((2, 3)))
    assert score.filmed == "return 500, median of 3"
    assert score.filmed_worst == "return 200, worst of 3"


def test_what_is_recorded_is_what_the_first_agent_saw_did_and_got() -> None:
    brief = replace(TASK, horizon=60)
    evaluator = Evaluator(brief, SEEN, 2, ScoreConfig())
    score = evaluator.play(Blind(), 5, 2, record=1)
    played = score.recorded
    assert played is not None and played.observation.shape == (1, brief.horizon + 1, SIZE, SIZE, 3)
    assert float(played.reward.sum()) == pytest.approx(score.returns[0, 0], rel=1e-4)
    assert not played.action[0, 0].any() and float(played.reward[0, 0]) == 0.0
    steps = torch.arange(1, brief.horizon + 1) / 1000
    torch.testing.assert_close(played.action[0, 1:, 0], steps)  # and not the second agent's
    env = make(TASK.name, "pixels", "fast", SIZE)
    first, _ = env.reset(seed=5)
    assert np.array_equal(played.observation[0, 0].numpy(), first)
    second, reward, *_ = env.step(np.full(TASK.action_dim, 0.001, np.float32))
    assert np.array_equal(played.observation[0, 1].numpy(), second)
    assert float(played.reward[0, 1]) == pytest.approx(reward)
    assert played.is_first[0].tolist() == [True, *[False] * brief.horizon] and not played.terminal.any()
    assert evaluator.play(Blind(), 5, 2).recorded is None
    env.close()
    evaluator.close()
