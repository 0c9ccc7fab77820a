"""A task of one's own, from a camera with vectors beside it: collected, trained, scored, reported, read back."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy_gymnasium import HOME, Point
from toy_runs import TOY, blank_figures, undrawn

import latent_combo
from combo_common.errors import UserError
from data import collect
from data.load import load, load_states
from envs import registry
from envs.adapters.gymnasium import gymnasium_task
from envs.make import make
from envs.registry import register
from envs.task import ObservationSpec, Task
from envs.vector_env import SyncVectorEnv, make_vector_env
from latent_combo import evaluate, export, report
from latent_combo import train as trainer
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.latents.encode import encode_episodes
from latent_combo.latents.settings import EncodeConfig
from latent_combo.runtime import checkpoint
from latent_combo.runtime.media import MediaWriter
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.recurrent import RecurrentWorldModel


class Killed(Exception):  # stands for a signal
    """What no part of a run catches."""


def command(module: Any, *arguments: object) -> None:
    """Call a command by its command line."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
        module.main()


@pytest.fixture(scope="module", autouse=True)
def _undrawn() -> Iterator[None]:
    """Nothing is drawn, which takes most of a tiny run."""

    def nothing(*given: object, **named: object) -> None:
        """What would be drawn."""

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(MediaWriter, "picture", nothing)
        patched.setattr(MediaWriter, "clip", nothing)
        patched.setattr("latent_combo.pipeline.measure.draw_curves", lambda run: [np.zeros((1, 1, 3), np.uint8)])
        yield


@pytest.fixture(scope="module")
def point() -> Iterator[Task]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry, "_registered", {})
        yield register(
            gymnasium_task(
                "point",
                Point,
                ("place", "velocity", "camera"),
                horizon=70,
                image_size=32,
                random_return=20.0,
                expert_return=60.0,
            )
        )


@pytest.fixture(scope="module")
def folder(point: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset of it, `point-home`, of images and states."""
    made = tmp_path_factory.mktemp("vectors")
    (made / "policy.py").write_text(HOME)
    policy = f"{made / 'policy.py'}:home"
    command(collect, "point", "own", made / "point-home", "--episodes", 3, "--processes", 1, "--policy", policy)
    return made


def settings(folder: Path, out: str, *more: object) -> list[object]:
    words = TOY.replace("--dataset tiny", f"--dataset {folder / 'point-home'}").split()
    return [*words, "--rssm.discount_head", "true", "--data_dir", folder / "data", "--out", folder / out, *more]


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    """A run that sees velocities beside the camera, killed while its world model is fitted, and finished."""
    out, killed = folder / "run", folder / "killed"
    taken, whole = iter(range(100)), Fit.take_step

    def part(fit: Fit, report: bool = True) -> Any:
        if next(taken) == 5:
            shutil.copytree(out, killed)
            raise Killed
        return whole(fit, report)

    with pytest.MonkeyPatch.context() as patched, blank_figures():
        patched.setattr(Fit, "take_step", part)
        with pytest.raises(Killed):
            command(trainer, *settings(folder, "run", "--vectors", "velocity", "--rssm.vector_hidden", 8))
    shutil.rmtree(out)  # which was closed properly
    killed.rename(out)
    with blank_figures():
        command(trainer, "--resume", out)
    return out


def test_a_run_goes_on_is_scored_and_reported(
    run: Path, folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    once = folder / "once"
    with undrawn():
        command(trainer, *settings(folder, "once", "--vectors", "[velocity 0, velocity 1]", "--rssm.vector_hidden", 8))
    weights = [checkpoint.load(f / "checkpoints/world_model", torch.device("cpu"))["fit"] for f in (run, once)]
    for name, tensor in weights[0]["model"].items():
        assert torch.equal(tensor, weights[1]["model"][name]), name
    states = load_states(str(folder / "point-home"), registry.get_task("point"), folder / "data", progress=False)
    read = latent_combo.load_run(run)
    train = np.setdiff1d(np.arange(3), read.held_out(read.dataset()))
    rows = np.concatenate([np.arange(s, s + 70) for s in states.starts[train]])
    mean = states.observation[rows][:, 2:].mean(0)
    np.testing.assert_allclose(weights[0]["model"]["vector_encoder.mean"].numpy(), mean, atol=1e-5)
    result = read.result
    assert result is not None and result.finished
    assert result.world_model.open_loop["vector_open_loop_nrmse"].keys() == {1, 5, 15, 50}
    assert "of vectors, the normalised RMSE" in str(result)
    capsys.readouterr()
    command(evaluate, run, "--episodes", 2)
    scores = capsys.readouterr().out
    assert f"({', '.join(f'{r:.0f}' for r in result.agents[0].returns[:1])}," in scores  # the same first episode
    command(report, run, "--out", tmp_path / "report.html")
    assert "vectors: velocity" in (tmp_path / "report.html").read_text()


def test_a_policy_acts_on_both_from_the_run_and_from_a_file(run: Path, folder: Path, tmp_path: Path) -> None:
    command(export, "--policy", run, tmp_path / "policy.safetensors")
    own, other = latent_combo.load_run(run).policy(), latent_combo.load_policy(tmp_path / "policy.safetensors")
    with make("point", "pixels", image_size=32) as env:
        image, info = env.reset(seed=0)
        for _ in range(4):
            seen = {"image": image, "state": info["state"]}
            action = own.act(seen)
            np.testing.assert_array_equal(action, other.act(seen))
            image, _, _, _, info = env.step(action)
    many = {"image": np.stack([image] * 2), "state": np.stack([info["state"], info["state"] + 9.0])}
    own.reset()
    first, second = own.act(many)
    own.reset()
    both_again = own.act({"image": many["image"], "state": many["state"] + np.float32([5.0, 5.0, 0.0, 0.0])})
    np.testing.assert_array_equal(both_again[0], first)  # its place is not seen
    assert not np.allclose(first, second, atol=1e-6)  # its velocity is
    with pytest.raises(UserError, match=r'give {"image": \(32, 32, 3\), "state": \(4,\)}'):
        own.act(image)
    with pytest.raises(UserError, match=r"state has shape \(2,\) .* takes \(4,\) floats .* velocity 0, velocity 1"):
        other.act({"image": image, "state": info["state"][2:]})


def test_evaluation_shows_what_the_environment_says_at_each_step(run: Path) -> None:
    read = latent_combo.load_run(run)
    config, policy = read.config, read.trained.policy(read.config.seed)
    with closing(Evaluator(read.task, config.observation_spec, policy.num_agents, config.score)) as evaluator:
        score = evaluator.play(policy, 7, 2, record=2)
    played = score.recorded
    assert played is not None and played.vector is not None and played.vector.shape[2:] == (2,)
    alone = read.policy()
    alone.reset(first=7)
    with make("point", "pixels", image_size=32) as env:
        image, info = env.reset(seed=7)
        for t in range(1, played.action.shape[1]):
            np.testing.assert_array_equal(played.vector[0, t - 1].numpy(), info["state"][2:])
            action = alone.act({"image": image, "state": info["state"]})
            np.testing.assert_allclose(played.action[0, t].numpy(), action, atol=1e-6)
            image, _, terminated, truncated, info = env.step(action)
            if terminated or truncated:
                break
    feature = read.world_model.encode(played.observation[:1], played.action[:1], None, played.vector[:1])
    blind = read.world_model.encode(
        played.observation[:1], played.action[:1], None, torch.zeros_like(played.vector[:1])
    )
    assert not torch.allclose(feature, blind)


def test_features_and_datasets_have_both(run: Path, folder: Path, point: Task) -> None:
    read = latent_combo.load_run(run)
    data = read.dataset()
    assert data.vector is not None
    whole = latent_combo.load_dataset(folder / "point-home", data_dir=folder / "data", vectors="all", image_size=32)
    assert whole.vector is not None
    np.testing.assert_array_equal(whole.vector[:, 2:], data.vector)
    rows = slice(0, 71)
    episode = latent_combo.make_episode(
        data.observation[rows], data.action[rows][1:], data.reward[rows][1:], state=whole.vector[rows]
    )
    (given,), features = latent_combo.encode(read, [episode]), latent_combo.encode(read, data, [0])
    torch.testing.assert_close(given, features[0])
    (mean,) = encode_episodes(
        read.world_model, data, np.array([1]), EncodeConfig(sample=False), torch.Generator().manual_seed(0)
    )
    second = slice(71, 142)
    columns = (torch.from_numpy(c[second].copy())[None] for c in (data.observation, data.action, data.vector))
    image, action, vector = columns
    torch.testing.assert_close(mean[None], read.world_model.encode(image, action, None, vector))
    with pytest.raises(UserError, match="4 numbers are seen beside the images, but the run sees 2"):
        latent_combo.encode(read, whole)
    bare = latent_combo.make_episode(data.observation[rows], data.action[rows][1:], data.reward[rows][1:])
    with pytest.raises(UserError, match="give their state"):
        latent_combo.encode(read, [bare])
    latent_combo.save_dataset(folder / "again", [episode], "point")
    again = load(str(folder / "again"), point, ObservationSpec("pixels", image_size=32, vectors=("place",)), folder)
    assert again.vector is not None
    np.testing.assert_array_equal(again.vector, whole.vector[rows][:, :2])


def test_a_fitted_model_brings_its_vectors_and_refuses_others(run: Path, folder: Path, tmp_path: Path) -> None:
    command(export, run, tmp_path / "model.safetensors")
    given = settings(folder, "second", "--rssm.vector_hidden", 8)
    fit = [n for n, word in enumerate(given) if str(word).startswith("--world_model_fit")]
    given = [word for n, word in enumerate(given) if n not in fit and n - 1 not in fit]
    taken = ["--world-model", tmp_path / "model.safetensors"]
    config = latent_combo.load_run(run).config
    made = latent_combo.make_config(world_model=str(tmp_path / "model.safetensors"), out=str(folder / "second"))
    assert made.observation_spec.vectors == config.observation_spec.vectors == ("velocity",)
    with undrawn():
        command(trainer, *given, *taken)
    assert latent_combo.load_run(folder / "second").vectors is not None
    with pytest.raises(UserError, match=r"vectors is place, but the world model of .* has velocity"):
        command(trainer, *given, *taken, "--out", folder / "third", "--vectors", "place")
    assert not (folder / "third").exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--vectors", "speed"), "vectors has 'speed', but point observes 'place 0', 'place 1', 'velocity 0'"),
        (("--vectors", "[place, velocitty 1]"), "velocitty 1.*did you mean velocity 1"),
        (("--vectors", "''"), "vectors has"),
    ],
)
def test_vectors_that_are_not_there_are_refused(more: tuple[str, ...], said: str, folder: Path) -> None:
    with pytest.raises(UserError, match=said) as refused:
        command(trainer, *settings(folder, "refused"), *more)
    assert "\n" not in str(refused.value) and not (folder / "refused").exists()


def test_states_have_no_vectors_beside_them(folder: Path) -> None:
    words = ["--obs", "state", "--vectors", "all", "--dataset", str(folder / "point-home")]
    with pytest.raises(UserError, match="obs is state, which sees all vectors; leave vectors out, or set obs to pix"):
        command(trainer, *words, "--out", folder / "refused")


def test_data_without_states_are_refused(folder: Path, point: Task, tmp_path: Path) -> None:
    data = load(str(folder / "point-home"), point, ObservationSpec("pixels", image_size=32), folder / "data")
    assert data.vector is None
    rows = slice(0, 71)
    bare = latent_combo.make_episode(data.observation[rows], data.action[rows][1:], data.reward[rows][1:])
    latent_combo.save_dataset(tmp_path / "own", [bare], "point")
    (tmp_path / "foreign").mkdir()
    np.savez(tmp_path / "foreign" / "episode-0.npz", **bare.columns())
    for name in ("own", "foreign"):
        seen = ObservationSpec("pixels", image_size=32, vectors=("all",))
        with pytest.raises(UserError, match="holds images and no states, which --vectors are of; leave --vectors out"):
            load(str(tmp_path / name), point, seen, tmp_path / "data")


def test_environments_show_both_here_and_in_processes() -> None:
    task, seen = registry.BUILTIN["walker-walk"], ObservationSpec("pixels", image_size=16, vectors=("all",))
    here, dealt = make_vector_env(task, seen, 2, 1), make_vector_env(task, seen, 2, 2)
    try:
        for ours, theirs in zip(here.reset([3, 4]), dealt.reset([3, 4]), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        actions = np.zeros((2, task.action_dim), np.float32)
        for ours, theirs in zip(here.step(actions), dealt.step(actions), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert here.reset([3])[1].shape == (1, task.state_dim)
    finally:
        here.close()
        dealt.close()


@pytest.mark.parametrize(
    ("state", "said"),
    [(np.zeros(3), "the state is of shape (3,), and point has 4 numbers"), (np.full(4, np.nan), "is not finite")],
)
def test_states_that_are_none_cost_their_episode(state: np.ndarray, said: str, point: Task) -> None:
    copies = SyncVectorEnv(point, ObservationSpec("pixels", image_size=8, vectors=("place",)), 2)
    copies.reset([0, 1])
    copies.envs[1]._info = lambda: {"state": state.astype(np.float32), "physics": np.zeros(0)}  # type: ignore[method-assign]
    found = copies.step(np.zeros((2, 2), np.float32))
    assert found[-1][0] == "" and said in found[-1][1]
    assert np.isfinite(found[1]).all() and found[1].shape == (2, 2)


def test_a_recording_without_states_is_observed_for_them_once(data_dir: Path, tmp_path: Path, short: None) -> None:
    task = registry.get_task("walker-walk")
    seen = ObservationSpec("pixels", image_size=16, vectors=(task.state_names[3], task.state_names[0]))
    shutil.copytree(data_dir / "tiny", tmp_path / "tiny")
    states = load_states("tiny", task, tmp_path, progress=False)
    for _ in range(2):
        data = load("tiny", task, seen, tmp_path)
        assert data.vector is not None
        np.testing.assert_array_equal(data.vector, states.observation[:, [0, 3]])  # in the task's order
    (kept,) = (tmp_path / "decoded").glob("*-state")
    np.save(kept / "action.npy", states.action[::-1])
    with pytest.raises(UserError, match="not of the same steps as its images; remove .*-state, or leave --vectors out"):
        load("tiny", task, seen, tmp_path)


def test_names_are_whole_or_begun() -> None:
    task = registry.get_task("cartpole-balance")
    assert task.vector_indices(("cart",)) == (0,)  # a whole name, though another begins with it
    assert task.vector_indices(("pole", "cart")) == (0, 1, 2, 4)
    assert task.vector_indices(("all", "cart")) == tuple(range(5))
    assert task.vector_indices(()) == ()


def test_the_weights_of_both_are_settings(folder: Path) -> None:
    made = latent_combo.make_config(
        dataset=str(folder / "point-home"), vectors=["place"], rssm={"vector_weight": 2.0, "image_weight": 0.5}
    )
    assert (made.rssm.vector_weight, made.rssm.image_weight, made.vectors) == (2.0, 0.5, ("place",))
    model = RecurrentWorldModel(made.rssm, 2, 2)
    assert model.vector_encoder is not None and model.vector_encoder.embedding_dim == made.rssm.vector_hidden
