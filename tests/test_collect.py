import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from data import collect
from data.behaviour import Snapshot, mean_return, train_behaviour
from data.collect import evenly_spaced, medium_snapshot, played_episodes, replay_indices
from data.store import Dataset
from envs.make import make
from envs.tasks import get_task
from latent_combo.run.errors import UserError

TASK = get_task("walker-walk")


def fake_actor(seed: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    shapes = {
        "latent_pi.0.weight": (8, 24), "latent_pi.0.bias": (8,), "latent_pi.2.weight": (8, 8), "latent_pi.2.bias": (8,),
        "mu.weight": (6, 8), "mu.bias": (6,), "log_std.weight": (6, 8), "log_std.bias": (6,),
    }  # fmt: skip
    return {name: torch.randn(shape, generator=draws) * 0.3 for name, shape in shapes.items()}


def behaviour_folder(folder: Path, episodes: int) -> Path:
    """A finished behaviour run as the learner leaves it, of short made-up episodes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows = 5
    for first in range(0, episodes, 20):
        np.savez(
            folder / f"episodes-{(first + 20) * TASK.horizon:07d}.npz",
            state=rng.normal(size=(20, rows + 1, 24)).astype(np.float32),
            physics=rng.normal(size=(20, rows + 1, 18)),
            action=rng.uniform(-1, 1, (20, rows, 6)).astype(np.float32),
            reward=np.full((20, rows), first / 20.0, np.float32),
        )
    measured = {}
    for number, returned in ((20_000, 100.0), (40_000, 400.0), (60_000, 700.0)):
        save_file(fake_actor(number), folder / f"actor-{number:07d}.safetensors")
        measured[f"actor-{number:07d}.safetensors"] = returned
    known = {"snapshots": measured, "expert": "actor-0060000.safetensors", "expert_return": 700.0,
             "random_return": 40.0, "reference_episodes": 20}  # fmt: skip
    (folder / "behaviour.json").write_text(json.dumps(known))
    return folder


def test_medium_is_the_snapshot_nearest_to_half_of_the_last_ones_return() -> None:
    snapshots = {"actor-1": 10.0, "actor-2": 300.0, "actor-3": 600.0, "actor-4": 700.0}
    assert medium_snapshot({"snapshots": snapshots}) == "actor-2"


def test_medium_replay_is_spread_over_the_replay_up_to_medium_or_its_first_200_episodes() -> None:
    np.testing.assert_array_equal(replay_indices(1000, 80, 200), np.arange(200))
    spread = replay_indices(1000, 600, 200)
    assert len(np.unique(spread)) == 200 and spread[0] == 0 and spread[-1] == 599
    thin = replay_indices(1000, 80, 50)
    assert len(np.unique(thin)) == 50 and thin[0] == 0 and thin[-1] == 199
    with pytest.raises(UserError, match="--steps"):
        replay_indices(100, 80, 200)
    assert evenly_spaced(10, 10).tolist() == list(range(10))


def test_the_command_cuts_a_recording_that_the_manifest_vouches_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    behaviour = behaviour_folder(tmp_path / "behaviour", 200)
    out = tmp_path / "mini"
    arguments = ["walker-walk", "medium-replay", str(out), "--episodes", "4", "--steps", "100000"]
    monkeypatch.setattr(sys, "argv", ["collect", *arguments, "--behaviour", str(behaviour)])
    collect.main()
    dataset = Dataset(out)
    assert dataset.manifest.kind == "recording"
    assert dataset.manifest.behaviour["replay_episodes"] == [0, 66, 133, 199]
    assert (dataset.manifest.random_return, dataset.manifest.expert_return) == (40.0, 700.0)
    returns = [episode.reward.sum() for episode in dataset]
    assert returns == [0.0, 15.0, 30.0, 45.0]  # five steps of the twentieth that each came from
    with pytest.raises(UserError, match="already|not empty"):
        collect.main()


def test_what_cannot_be_collected_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "train_behaviour", lambda *_: pytest.fail("trained"))
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    wrong = {
        "--steps is 0": ["new", "--steps", "0"],
        "--threads is 0": ["new", "--threads", "0"],
        "--episodes is 1": ["new", "--episodes", "1"],
        "full exists already": ["full"],
        "file exists already": ["file"],
        "cannot write to": ["file/under"],
    }
    for message, (out, *options) in wrong.items():
        monkeypatch.setattr(sys, "argv", ["collect", "walker-walk", "expert", str(tmp_path / out), *options])
        with pytest.raises(UserError, match=message):
            collect.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_a_behaviour_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=f"cannot write to {file}"):
        train_behaviour(TASK, file, 1, seed=0, threads=1)


def test_a_behaviour_folder_of_another_seed_is_not_continued(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    folder = behaviour_folder(tmp_path / "behaviour", 20)
    (folder / "learner.json").write_text(json.dumps({"task": "walker-walk", "seed": 3}))
    train_behaviour(TASK, folder, 1, seed=3, threads=1)  # finished: nothing to do
    with pytest.raises(UserError, match="was trained with seed 3, not 0"):
        train_behaviour(TASK, folder, 1, seed=0, threads=1)


def test_played_episodes_replay_exactly_from_their_actions() -> None:
    policy = Snapshot(fake_actor(0), torch.Generator().manual_seed(0))
    (episode,) = played_episodes(TASK, policy, 1, seed=7)
    episode_again = next(played_episodes(TASK, Snapshot(fake_actor(0), torch.Generator().manual_seed(0)), 1, seed=7))
    np.testing.assert_array_equal(episode.action, episode_again.action)
    assert episode.physics is not None and len(episode.action) == 501
    env = make("walker-walk", "state")
    env.reset(seed=7)
    np.testing.assert_array_equal(env.physics_state(), episode.physics[0])
    for t in range(1, 6):  # action[t] led to row t
        _, reward, _, _, info = env.step(episode.action[t])
        assert reward == pytest.approx(float(episode.reward[t]), abs=1e-6)
        np.testing.assert_allclose(info["physics"], episode.physics[t], atol=1e-12)


def test_random_actions_score_what_the_registry_says() -> None:
    assert mean_return(TASK, None, episodes=4, seed=20_000) == pytest.approx(TASK.random_return, abs=15.0)


@pytest.mark.slow
def test_the_learner_stops_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    from data import behaviour

    monkeypatch.setattr(behaviour, "EPISODES_A_FILE", 4)
    behaviour.train_behaviour(TASK, tmp_path, 2000, seed=0, threads=1)
    first = behaviour.read_replay(tmp_path)
    behaviour.train_behaviour(TASK, tmp_path, 4000, seed=0, threads=1)
    both = behaviour.read_replay(tmp_path)
    assert len(first["reward"]) == 4 and len(both["reward"]) == 8
    np.testing.assert_array_equal(both["reward"][:4], first["reward"])
    assert sorted(p.name for p in tmp_path.glob("actor-*")) == [
        "actor-0002000.safetensors",
        "actor-0004000.safetensors",
    ]
