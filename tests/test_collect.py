import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from combo_common.errors import UserError
from combo_common.spacing import evenly_spaced
from data import collect
from data.episode import Episode, validate
from data.formats.d4rl import read_d4rl
from data.formats.native import Dataset
from data.reference import resolve
from data.simulate.rollout import PolicySpec, mean_return, play, played_episodes
from data.simulate.sac import EPISODE_COLUMNS, train_behaviour
from data.simulate.snapshot import SacActor
from data.simulate.splits import (
    Behaviour,
    cut,
    first_episode,
    medium_snapshot,
    replay_indices,
    shared_out,
    thinned,
)
from envs.make import make
from envs.registry import get_task
from latent_combo.evaluation.settings import ScoreConfig

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
        made = [
            Episode.from_transitions(
                rng.uniform(-1, 1, (rows, 6)), np.full(rows, first / 20.0), rng.normal(size=(rows + 1, 18)),
                rng.normal(size=(rows + 1, 24)),
            )
            for _ in range(20)
        ]  # fmt: skip
        columns = {
            name: np.concatenate([episode.columns()[name] for episode in made])
            for name in (*EPISODE_COLUMNS, "physics")
        }
        np.savez(folder / f"episodes-{(first + 20) * TASK.horizon:07d}.npz", **columns)
    measured = {}
    for number, returned in ((20_000, 100.0), (40_000, 400.0), (60_000, 700.0)):
        save_file(fake_actor(number), folder / f"actor-{number:07d}.safetensors")
        measured[f"actor-{number:07d}.safetensors"] = returned
    known = {"snapshots": measured, "expert": "actor-0060000.safetensors", "expert_return": 700.0,
             "random_return": 40.0, "reference_episodes": 20}  # fmt: skip
    (folder / "behaviour.json").write_text(json.dumps(known))
    return folder


def test_medium_is_the_first_snapshot_about_as_good_as_a_share_of_the_last_one() -> None:
    snapshots = {"actor-1": 10.0, "actor-2": 300.0, "actor-3": 600.0, "actor-4": 350.0, "actor-5": 700.0}
    measured = {"snapshots": snapshots, "random_return": 0.0}
    assert medium_snapshot(measured, 0.5) == "actor-2"  # actor-4 is nearer, but a setback
    assert medium_snapshot(measured, 1.0 / 3.0) == "actor-2"
    assert medium_snapshot(measured, 0.8) == "actor-3"
    assert medium_snapshot(measured, 0.01) == "actor-1"
    worst = {"snapshots": {"actor-1": -900.0, "actor-2": -50.0}, "random_return": 0.0}
    assert medium_snapshot(worst, 0.5) == "actor-2"


def test_a_thinned_replay_is_spread_over_all_of_it() -> None:
    lengths = np.array([10, 30] * 50)
    np.testing.assert_array_equal(thinned(lengths, 5000), np.arange(100))
    few = thinned(lengths, 400)
    assert len(few) == 20 and few[0] == 0 and few[-1] == 99


def test_medium_replay_is_spread_over_the_replay_up_to_medium_or_its_first_200_episodes() -> None:
    np.testing.assert_array_equal(replay_indices(1000, 80, 200, 200), np.arange(200))
    spread = replay_indices(1000, 600, 200, 200)
    assert len(np.unique(spread)) == 200 and spread[0] == 0 and spread[-1] == 599
    thin = replay_indices(1000, 80, 50, 200)
    assert len(np.unique(thin)) == 50 and thin[0] == 0 and thin[-1] == 199
    with pytest.raises(UserError, match="--steps"):
        replay_indices(100, 80, 200, 200)
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
    assert "writing mini: 4/4 [" in capsys.readouterr().err
    with pytest.raises(UserError, match="already|not empty"):
        collect.main()


def test_the_splits_of_several_learners_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (3, 4, 5):
        behaviour_folder(tmp_path / f"walker-walk-behaviour-seed{seed}", 200)
    seen: list[int] = []
    monkeypatch.setattr(collect, "train_behaviour", lambda _, folder, __, seed: seen.append(seed))
    out = tmp_path / "mini"
    arguments = ["walker-walk", "medium-replay", str(out), "--learners", "3", "--seed", "3", "--episodes", "8"]
    monkeypatch.setattr(sys, "argv", ["collect", *arguments])
    collect.main()
    dataset = Dataset(out)
    assert seen == [3, 4, 5] and shared_out(8, 3) == [3, 3, 2]
    told = dataset.manifest.behaviour["learners"]
    assert [one["seed"] for one in told] == seen
    assert [one["replay_episodes"] for one in told] == [[0, 100, 199], [0, 100, 199], [0, 199]]
    assert [episode.reward.sum() for episode in dataset] == [0.0, 25.0, 45.0, 0.0, 25.0, 45.0, 0.0, 45.0]


def test_what_cannot_be_collected_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collect, "train_behaviour", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(
        sys, "argv", ["collect", "walker-walk", "medium-replay", str(tmp_path / "new"), "--episodes", "201"]
    )
    with pytest.raises(UserError, match="has at most 200"):
        collect.main()
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").touch()
    wrong = {
        "--steps is 0": ["new", "--steps", "0"],
        "--episodes is 1": ["new", "--episodes", "1"],
        "--learners is 0": ["new", "--learners", "0"],
        "--learners is 2; it is 1 or more, and 1 with --scripted": ["new", "--learners", "2", "--behaviour", "here"],
        "--episodes is 4 of 3 learners": ["new", "--learners", "3", "--episodes", "4"],
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
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UserError, match=f"cannot write to {file}"):
        train_behaviour(TASK, file, 1, seed=0)


def test_a_behaviour_folder_of_another_seed_is_not_continued(tmp_path: Path) -> None:
    folder = behaviour_folder(tmp_path / "behaviour", 20)
    (folder / "learner.json").write_text(json.dumps({"task": "walker-walk", "seed": 3}))
    train_behaviour(TASK, folder, 1, seed=3)  # finished: nothing to do
    with pytest.raises(UserError, match="was trained with seed 3, not 0"):
        train_behaviour(TASK, folder, 1, seed=0)


def test_played_episodes_replay_exactly_from_their_actions(tmp_path: Path) -> None:
    save_file(fake_actor(0), tmp_path / "actor.safetensors")
    policy = PolicySpec(tmp_path / "actor.safetensors")
    (episode,) = played_episodes(TASK, policy, 1, seed=7)
    episode_again = next(played_episodes(TASK, policy, 1, seed=7))
    np.testing.assert_array_equal(episode.action, episode_again.action)
    assert episode.physics is not None and len(episode.action) == 501
    env = make("walker-walk", "state")
    env.reset(seed=7)
    np.testing.assert_array_equal(env.physics_state(), episode.physics[0])
    for t in range(1, 6):  # action[t] led to row t
        _, reward, _, _, info = env.step(episode.action[t])
        assert reward == pytest.approx(float(episode.reward[t]), abs=1e-6)
        np.testing.assert_allclose(info["physics"], episode.physics[t], atol=1e-12)


def test_episodes_are_the_same_whatever_the_number_of_processes(tmp_path: Path) -> None:
    door, actor = get_task("sawyer-door-varied"), PolicySpec(noise=0.5)
    alone, dealt = (list(play(door, actor, range(3), processes)) for processes in (1, 2))
    assert len(alone) == len(dealt) == 3
    for one, two in zip(alone, dealt, strict=True):
        for key, column in one.columns().items():
            np.testing.assert_array_equal(column, two.columns()[key], err_msg=key)
    assert not np.array_equal(alone[0].physics, alone[1].physics)


def test_no_two_policies_or_seeds_play_the_same_episodes_nor_those_that_are_scored() -> None:
    score, most = ScoreConfig(), 1_000_000
    starts = sorted(first_episode(seed, policy) for seed in range(5) for policy in ("medium", "expert", "random"))
    assert np.diff(starts).min() >= most
    assert max(score.seed, score.seed_during_training, 20_000) + 100_000 < starts[0]


def test_random_actions_are_not_those_of_the_random_start() -> None:
    hopper = get_task("hopper")
    episodes = list(play(hopper, PolicySpec(), range(8)))
    starts = np.stack([episode.physics[0] - np.eye(12)[1] * 1.25 for episode in episodes])
    first = np.stack([episode.action[1] for episode in episodes])
    assert np.abs(first - starts[:, :3] / 5e-3).max(0).min() > 0.5  # of the same stream they would agree


def test_a_medium_policy_that_is_the_expert_is_refused(tmp_path: Path) -> None:
    measured = {"snapshots": {"actor-1": 700.0}, "expert": "actor-1", "random_return": 40.0}
    behaviour = Behaviour(TASK, TASK, tmp_path, measured)
    for split in ("medium", "medium-expert"):
        with pytest.raises(UserError, match="give more --steps"):
            cut(behaviour, split, 4, 0)


def test_random_actions_score_what_the_registry_says() -> None:
    assert mean_return(TASK, PolicySpec(), episodes=4, seed=20_000) == pytest.approx(TASK.random_return, abs=15.0)


def test_a_learner_is_saved_and_put_back_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sbx")
    from data.simulate import sac as behaviour

    monkeypatch.setenv("XLA_FLAGS", "--xla_backend_optimization_level=0")  # compiling takes longer than 60 steps
    monkeypatch.setattr(behaviour, "STEPS_A_FILE", 60)
    monkeypatch.setattr(behaviour, "RANDOM_EPISODES", 0)
    monkeypatch.setattr(behaviour, "TRAIN_FREQ", 10)
    made: list[Any] = []
    save, restore = behaviour._save, behaviour._restore
    monkeypatch.setattr(behaviour, "_save", lambda model, *rest: (made.append(model), save(model, *rest)))

    def restored(model: Any, *rest: Any) -> None:
        restore(model, *rest)
        ours, theirs = (jax.tree.leaves(behaviour._networks(m)) for m in (model, made[0]))
        for put_back, saved in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(put_back, saved)
        kept = sum(episode.length for episode in made_episodes)
        assert model.replay_buffer.pos == kept > 20 and model.num_timesteps == 60
        for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
            column, saved = (getattr(m.replay_buffer, name)[:kept] for m in (model, made[0]))
            np.testing.assert_allclose(column, saved, atol=1e-6, err_msg=name)

    import jax

    hopper = get_task("hopper")
    behaviour.train_behaviour(hopper, tmp_path, 60, seed=0)
    made_episodes = behaviour.read_replay(tmp_path)
    state = np.random.default_rng(0).normal(size=(1, hopper.state_dim)).astype(np.float32)
    actor = made[0].policy.actor_state
    normal = actor.apply_fn(actor.params, state).distribution
    weights = {name: torch.from_numpy(layer) for name, layer in behaviour.actor_weights(made[0]).items()}
    generator = torch.Generator().manual_seed(0)
    drawn = np.stack([SacActor(weights, generator)(state[0]) for _ in range(4000)])
    raw = np.arctanh(drawn.clip(-1 + 1e-6, 1 - 1e-6))
    np.testing.assert_allclose(raw.mean(0), np.asarray(normal.mean())[0], atol=0.08)
    np.testing.assert_allclose(raw.std(0), np.asarray(normal.stddev())[0], rtol=0.1)
    monkeypatch.setattr(behaviour, "_restore", restored)
    behaviour.train_behaviour(hopper, tmp_path, 120, seed=0)
    assert len(made) == 2 and made[1] is not made[0]
    assert int(made[1].policy.actor_state.step) > int(made[0].policy.actor_state.step) > 0


@pytest.mark.slow
def test_the_learner_stops_and_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sbx")
    from data.simulate import sac as behaviour

    monkeypatch.setattr(behaviour, "STEPS_A_FILE", 2000)
    learners: list[Any] = []
    save = behaviour._save
    monkeypatch.setattr(behaviour, "_save", lambda model, *rest: (learners.append(model), save(model, *rest)))
    behaviour.train_behaviour(TASK, tmp_path, 2000, seed=0)
    first = behaviour.read_replay(tmp_path)
    (tmp_path / "learner.msgpack").rename(tmp_path / "away")
    with pytest.raises(UserError, match="of another version"):
        behaviour.train_behaviour(TASK, tmp_path, 4000, seed=0)
    (tmp_path / "away").rename(tmp_path / "learner.msgpack")
    behaviour.train_behaviour(TASK, tmp_path, 4000, seed=0)
    snapshot = SacActor(load_file(tmp_path / "actor-0004000.safetensors"), None)
    for state in np.random.default_rng(0).normal(size=(5, TASK.state_dim)).astype(np.float32):
        np.testing.assert_allclose(snapshot(state), learners[-1].predict(state, deterministic=True)[0], atol=1e-5)
    both = behaviour.read_replay(tmp_path)
    assert len(first) == 4 and len(both) == 8
    np.testing.assert_array_equal(both[3].reward, first[3].reward)
    assert sorted(p.name for p in tmp_path.glob("actor-*")) == [
        "actor-0002000.safetensors",
        "actor-0004000.safetensors",
    ]


@pytest.mark.slow
def test_a_learner_of_a_robot_that_falls_goes_on_with_all_that_was_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sbx")
    from data.simulate import sac as behaviour

    monkeypatch.setattr(behaviour, "STEPS_A_FILE", 600)
    monkeypatch.setattr(behaviour, "RANDOM_EPISODES", 0)
    hopper = get_task("hopper")
    behaviour.train_behaviour(hopper, tmp_path, 600, seed=0)
    first = behaviour.read_replay(tmp_path)
    behaviour.train_behaviour(hopper, tmp_path, 1200, seed=0)
    both = behaviour.read_replay(tmp_path)
    assert len({episode.length for episode in both}) > 3 and all(episode.is_terminal[-1] for episode in both)
    assert len(both) > len(first)
    np.testing.assert_array_equal(both[len(first) - 1].physics, first[-1].physics)
    for episode in both:
        validate(episode, "kept")


def test_a_split_of_a_robot_is_written_in_d4rls_layout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hopper = get_task("hopper")
    monkeypatch.setattr(collect, "train_behaviour", lambda *_: pytest.fail("uniform actions need no learner"))
    out = tmp_path / "hopper-random.hdf5"
    monkeypatch.setattr(sys, "argv", ["collect", "hopper", "random", str(out), "--episodes", "2"])
    collect.main()
    read = read_d4rl(out, hopper)
    assert read.is_terminal.sum() == len(read.lengths)  # uniform actions fall soon
    assert 2000 <= (read.lengths - 1).sum() < 2100
    assert read.physics is not None
    env = make("hopper", "state")
    for row in (0, 3, int(read.starts[1]), int(read.lengths.sum()) - 1):
        np.testing.assert_allclose(env.observe_physics(read.physics[row]), read.observation[row], atol=1e-6)
    assert resolve(str(out), None, tmp_path).task == "hopper"
    with pytest.raises(UserError, match="exists already"):
        collect.main()
