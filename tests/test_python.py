"""What `import latent_combo` offers: it is there at once, and does what the program itself does."""

import ast
import json
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from test_policy import Adder
from toy_models import Drift
from toy_runs import short_episodes

import latent_combo
from combo_common.errors import UserError
from combo_common.interrupt import Interrupt
from data.episode import Episode
from envs.make import make
from envs.registry import get_task
from latent_combo import export
from latent_combo.agent.networks import Actor
from latent_combo.agent.settings import NetworkConfig
from latent_combo.api.policy_file import METADATA
from latent_combo.config.command_line import parse
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.evaluation.policy import Policy

ROOT = Path(__file__).parent.parent
STEPS = 5
AT_ONCE = """
import json, sys
import latent_combo
before = sorted(sys.modules)
policy = latent_combo.load_policy(sys.argv[1])
import numpy as np
action = policy.act(np.zeros(policy.observation_shape, np.uint8))
print(json.dumps([before, sorted(sys.modules), action.tolist()]))
"""
SIMULATORS_AND_DRAWING = {"mujoco", "dm_control", "gymnasium", "metaworld", "matplotlib", "tensorboard"}


@pytest.fixture(scope="module")
def run(finished: Path) -> latent_combo.Run:
    """A finished run of images, of two agents."""
    with short_episodes():
        return latent_combo.load_run(finished)


@pytest.fixture(scope="module")
def file(run: latent_combo.Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The policy of the second one."""
    return latent_combo.export_policy(run, tmp_path_factory.mktemp("policies") / "policy.safetensors", agent=1)


def images(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(256, size=(STEPS, count, 32, 32, 3), dtype=np.uint8)


def test_names_are_there_and_others_are_not() -> None:
    assert set(latent_combo.__all__) <= set(dir(latent_combo))
    for name in latent_combo.__all__:
        assert getattr(latent_combo, name) is not None
    with pytest.raises(AttributeError, match="latent_combo' has no attribute 'trian'"):
        latent_combo.trian  # noqa: B018


def test_checkers_and_the_docs_know_the_same_names() -> None:
    tree = ast.parse(Path(latent_combo.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    places = {
        alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert places.pop("train") == "latent_combo.train"
    assert places == latent_combo._PLACES
    assert {*places, "train", "__version__"} == set(latent_combo.__all__)
    docs = (ROOT / "docs" / "python.md").read_text()
    assert set(re.findall(r"latent_combo\.([a-z_]+)\(", docs)) <= set(latent_combo.__all__)
    assert all(name in docs for name in latent_combo.__all__ if name not in ("NumpyPolicy", "__version__"))
    assert set(re.findall(r"`(\w+\.py)`", docs)) == {file.name for file in (ROOT / "examples").glob("*.py")}


def test_train_is_the_function_however_it_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    from latent_combo.train import train

    assert latent_combo.train.train is train
    monkeypatch.setattr("latent_combo.train.train", lambda config, resume, accept: (config, resume))
    assert latent_combo.train("config") == ("config", False) and latent_combo.train("config", True)[1]


def test_a_policy_is_read_without_simulators_and_drawing(file: Path) -> None:
    done = subprocess.run([sys.executable, "-c", AT_ONCE, str(file)], capture_output=True, text=True, check=True)
    before, after, action = json.loads(done.stdout)
    assert not {"torch", "numpy", "yaml"} & set(before)  # the import takes no time
    assert not SIMULATORS_AND_DRAWING & {name.split(".")[0] for name in after}
    seen = np.zeros((32, 32, 3), np.uint8)
    np.testing.assert_allclose(latent_combo.load_policy(file).act(seen), action, atol=1e-6)


def test_a_policy_of_a_file_is_the_runs_own(run: latent_combo.Run, file: Path) -> None:
    own, read, other = run.policy(1), latent_combo.load_policy(file), latent_combo.load_policy(file, seed=9)
    for seen in images(3):
        np.testing.assert_array_equal(own.act(seen), read.act(seen))
        drawn = other.act(seen)
    assert not np.array_equal(drawn, own.act(seen))  # its latents are samples
    assert drawn.dtype == np.float32 and np.abs(drawn).max() < 1.0


def test_a_policy_acts_as_in_evaluation(run: latent_combo.Run, short: None) -> None:
    task, seen = get_task("walker-walk"), run.config.observation_spec
    one = Policy(run.world_model, run.actor(1), 1, run.config.seed, run.config.encode.sample, first_agent=1)
    with closing(Evaluator(task, seen, 1, run.config.score)) as evaluator:
        score = evaluator.play(one, seed=7, episodes=2)
    copies = [make(task.name, seen.observation, seen.look, seen.image_size) for _ in range(2)]
    copies[1].draw_with(copies[0])
    policy, returns = run.policy(agent=1), np.zeros(2)
    policy.reset(first=7)
    observation = np.stack([env.reset(seed=7 + number)[0] for number, env in enumerate(copies)])
    for _ in range(task.horizon):
        steps = [env.step(action) for env, action in zip(copies, policy.act(observation), strict=True)]
        observation = np.stack([step[0] for step in steps])
        returns += [step[1] for step in steps]
    np.testing.assert_array_equal(returns, score.returns[0])
    copies[0].close()


def test_each_agent_is_its_own_among_all(run: latent_combo.Run) -> None:
    together = run.trained.policy(seed=0)
    together.reset(3)
    apart = [run.policy(agent) for agent in range(2)]
    for seen in images(3):
        both = together.act(torch.from_numpy(np.stack([seen, seen]))).numpy()
        np.testing.assert_allclose([policy.act(seen) for policy in apart], both, atol=1e-5)
    assert np.abs(both[0] - both[1]).max() > 1e-3
    with pytest.raises(UserError, match="agent is 2, but .* agents 0 to 1"):
        run.policy(agent=2)


def adder() -> latent_combo.NumpyPolicy:
    """A policy whose features are running sums of what it saw."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        actor = Actor(1, NetworkConfig(hidden=8), Adder.feature_dim, Adder.action_dim)
    return latent_combo.NumpyPolicy(Policy(Adder(), actor, 1, seed=0, sample=False), (8, 8, 3))


def test_one_environment_and_many() -> None:
    alone, many = adder(), adder()
    dark, bright = np.full((8, 8, 3), 1, np.uint8), np.full((8, 8, 3), 9, np.uint8)
    for _ in range(3):
        one, three = alone.act(dark), many.act(np.stack([bright, dark, bright]))
        assert one.shape == (2,) and three.shape == (3, 2)
        np.testing.assert_allclose(one, three[1], atol=1e-6)
    with pytest.raises(UserError, match="1 observations, but there were 3; call reset"):
        many.act(dark)
    first = adder().act(bright)
    many.reset(np.array([True, False, False]))
    begun = many.act(np.stack([bright, dark, bright]))
    np.testing.assert_allclose(begun[0], first, atol=1e-6)
    np.testing.assert_allclose(begun[1], alone.act(dark), atol=1e-6)
    many.reset()
    np.testing.assert_allclose(many.act(bright), first, atol=1e-6)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (np.zeros((8, 9, 3), np.uint8), "shape .*, but the policy sees \\(8, 8, 3\\)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "but the policy sees"),
        (np.zeros((8, 8, 3), np.float32), "image is float32; give uint8"),
    ],
)
def test_observations_of_another_kind_are_refused(seen: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        adder().act(seen)
    with pytest.raises(UserError, match="no environments yet"):
        adder().reset(np.array([True]))


def altered(file: Path, out: Path, drop: str = "", **by: object) -> Path:
    """A file with other settings, or without a weight."""
    with safetensors.safe_open(file, "pt") as opened:
        said = json.loads(opened.metadata()[METADATA])
    weights = safetensors.torch.load_file(file)
    weights.pop(drop, None)
    safetensors.torch.save_file(weights, out, {METADATA: json.dumps(said | by)})
    return out


def test_a_policy_of_format_1_is_read(file: Path, tmp_path: Path) -> None:
    with safetensors.safe_open(file, "pt") as opened:
        model = json.loads(opened.metadata()[METADATA])["model"]
    model["rssm"] = model.pop("dynamics")
    old = altered(file, tmp_path / "old.safetensors", format=1, model=model)
    seen = images(2)[0]
    np.testing.assert_array_equal(latent_combo.load_policy(old).act(seen), latent_combo.load_policy(file).act(seen))


@pytest.mark.parametrize(
    ("by", "said"),
    [
        ({"format": 3}, "its format is not 2"),
        ({"obs": "sound"}, "obs is 'sound'"),
        ({"action_dim": "many"}, "action_dim is 'many'"),
        ({"colour": 1}, "its settings can not be read"),
        ({"actor": {"hidden": 17, "layers": 3}}, "first.bias is \\(1, 1, 16\\) of .*, not \\(1, 1, 17\\)"),
        ({"actor": {"width": 17}}, "do not go together \\('width'\\)"),
        ({"observation_shape": [64, 64, 3]}, "observation_shape is \\[64, 64, 3\\], image_size 32"),
        ({"drop": "actor.first.weight"}, "first.weight is not there"),
    ],
)
def test_files_that_are_no_policy_are_refused(file: Path, tmp_path: Path, by: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=f"no policy that this version can read: .*{said}.*; export it anew"):
        latent_combo.load_policy(altered(file, tmp_path / "other.safetensors", **by))


def test_a_policy_is_exported_by_a_command(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "policy.safetensors"
    monkeypatch.setattr(sys, "argv", ["export", "--policy", "--agent", "1", str(finished), str(out)])
    export.main()
    assert "latent_combo.load_policy" in capsys.readouterr().out
    np.testing.assert_array_equal(
        latent_combo.load_policy(out).act(images(2)[0]), latent_combo.load_run(finished).policy(1).act(images(2)[0])
    )
    with pytest.raises(UserError, match="is there already"):
        export.main()
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(UserError, match="it holds no policy"):
        latent_combo.load_policy(tmp_path / "bare.safetensors")


def test_settings_are_those_of_a_command_line(tmp_path: Path) -> None:
    made = latent_combo.make_config(
        preset="small",
        dataset="walker-walk-mini",
        out=tmp_path / "run",
        agent={
            "num_agents": np.int64(2),
            "beta": [0.5, 1.0],
            "network": {"hidden": 32},
            "trajectory_temperature": None,
        },
        **{"world_model_fit.steps": 7, "cuda_graphs": "off", "skip_corrupt": True},
    )
    line = (
        f"--preset small --dataset walker-walk-mini --out {tmp_path / 'run'} --agent.num_agents 2 "
        "--agent.beta=[0.5,1.0] "
        "--agent.network.hidden 32 --agent.trajectory_temperature null --world_model_fit.steps 7 --cuda_graphs off "
        "--skip_corrupt true"
    )
    assert made == parse(line.split())[0]
    for settings, said in (
        ({"agent": {"betta": 1}}, "no setting agent.betta; did you mean agent.beta"),
        ({"resume": "run"}, "resume is no setting"),
        ({"seed": object()}, "seed is of type object"),
        ({"obs": "sound"}, "obs is 'sound'"),
    ):
        with pytest.raises(UserError, match=said):
            latent_combo.make_config(**settings)


def test_columns_are_cut_into_episodes() -> None:
    seen, number = np.arange(12.0)[:, None], np.arange(12.0)
    action = np.full((12, 1), 0.5)
    timeouts = np.isin(number, (4, 9))
    cut = latent_combo.episodes_from_arrays(seen, action, number, np.zeros(12), timeouts)
    assert [episode.length for episode in cut] == [4, 4, 1]  # each without its last step
    assert cut[1].columns()["state"][:, 0].tolist() == [5, 6, 7, 8, 9] and cut[1].reward.tolist() == [0, 5, 6, 7, 8]
    whole = latent_combo.episodes_from_arrays(seen, action, number, number == 4, number == 9, seen + 1)
    assert [episode.length for episode in whole] == [5, 5, 2]
    assert [bool(episode.is_terminal[-1]) for episode in whole] == [True, False, False]
    assert whole[0].columns()["state"][-1, 0] == 5.0
    with pytest.raises(UserError, match="give next_observations"):
        latent_combo.episodes_from_arrays(seen, action, number, number == 4, timeouts)
    with pytest.raises(UserError, match="rewards has 11 rows where observations has 12"):
        latent_combo.episodes_from_arrays(seen, action, number[1:], number == 4, timeouts, seen)
    with pytest.raises(UserError, match="T \\+ 1 observations"):
        latent_combo.make_episode(seen, action, number)
    with pytest.raises(UserError, match="leaves \\[-1, 1\\]"):
        latent_combo.make_episode(seen, 3 * action[1:], number[1:])


def cartpoles(pixels: bool, count: int = 3) -> list[Episode]:
    rng = np.random.default_rng(0)
    shape = (6, 32, 32, 3) if pixels else (6, 5)
    seen = rng.integers(256, size=(count, *shape)).astype(np.uint8 if pixels else np.float32)
    return [latent_combo.make_episode(each, rng.uniform(-1, 1, (5, 1)), rng.normal(size=5)) for each in seen]


@pytest.mark.parametrize("name", ["images", "vectors", "vectors.hdf5"])
def test_what_is_written_is_read_by_training(tmp_path: Path, name: str) -> None:
    episodes = cartpoles(name == "images")
    written = latent_combo.save_dataset(tmp_path / name, episodes, "cartpole-balance")
    obs = "pixels" if name == "images" else "state"
    read = latent_combo.load_dataset(written, obs, image_size=32, data_dir=tmp_path)
    key = "image" if name == "images" else "state"
    np.testing.assert_array_equal(read.observation, np.concatenate([e.columns()[key] for e in episodes]))
    np.testing.assert_array_equal(read.action, np.concatenate([e.action for e in episodes]))
    assert read.lengths.tolist() == [6, 6, 6]
    config = latent_combo.make_config(obs=obs, dataset=written, data_dir=tmp_path)
    assert (config.task, config.dataset) == ("cartpole-balance", written)


def test_datasets_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    for task, episodes, said in (
        ("hopper", cartpoles(False), "episode 0: `action` has 1 numbers, but hopper has 3"),
        ("cartpole-balance", [], "no episodes"),
        ("cartpool", cartpoles(False), "unknown task 'cartpool'"),
    ):
        with pytest.raises(UserError, match=said):
            latent_combo.save_dataset(tmp_path / "out", episodes, task)
    with pytest.raises(UserError, match="obs is 'sound'"):
        latent_combo.load_dataset("hopper-mini", "sound")
    with pytest.raises(UserError, match="does not say which task"):
        latent_combo.load_dataset(tmp_path / "unknown")


def test_episodes_are_encoded_and_imagined_on(run: latent_combo.Run) -> None:
    dataset = run.dataset()
    which = run.held_out(dataset)
    assert 0 < len(which) < len(dataset.lengths)
    features = latent_combo.encode(run, dataset, which)
    assert features[0].shape == (dataset.lengths[which[0]], run.world_model.feature_dim)
    rows = slice(dataset.starts[which[0]], dataset.starts[which[0]] + dataset.lengths[which[0]])
    given = latent_combo.make_episode(dataset.observation[rows], dataset.action[rows][1:], dataset.reward[rows][1:])
    torch.testing.assert_close(latent_combo.encode(run, [given])[0], features[0])
    rollout = latent_combo.imagine(run.world_model, features[0][:4], run.action, steps=3)
    assert rollout.feature.shape == (4, 4, run.world_model.feature_dim) and rollout.reward.shape == (4, 3)
    torch.testing.assert_close(rollout.action[:, 1], run.action(rollout.feature[:, 1]))
    decoded = latent_combo.decode(run.world_model, rollout.feature)
    assert decoded.shape == (4, 4, 32, 32, 3) and decoded.dtype == np.uint8
    with pytest.raises(UserError, match="observations have shape \\(5,\\), but the run's \\(32, 32, 3\\)"):
        latent_combo.encode(run, cartpoles(False))


def test_imagination_follows_given_actions_and_functions() -> None:
    model, start = Drift(), torch.tensor([[0.0, 1.0], [2.0, 3.0]])
    actions = torch.tensor([[[1.0, 0.0], [0.5, -1.0]], [[0.0, 0.0], [-1.0, 1.0]]])
    rollout = latent_combo.imagine(model, start, actions)
    expected = start[:, None] + torch.cat([torch.zeros(2, 1, 2), actions.cumsum(1)], 1)
    torch.testing.assert_close(rollout.feature, expected)
    torch.testing.assert_close(rollout.reward, expected[:, 1:, 0])
    halved = latent_combo.imagine(model, start, lambda feature: -0.5 * feature, steps=2)
    torch.testing.assert_close(halved.feature[:, 2], 0.25 * start)
    np.testing.assert_array_equal(latent_combo.decode(model, rollout.feature), expected.numpy())
    for feature, given, said in (
        (start[0], actions, "features have shape"),
        (start, actions[:1], "actions have shape .* \\(2, T, 2\\) is due"),
        (start, actions[:, :0], "steps is 0"),
    ):
        with pytest.raises(UserError, match=said):
            latent_combo.imagine(model, feature, given)


def test_a_run_without_agents_says_so(run: latent_combo.Run) -> None:
    alone = replace(run, trained=replace(run.trained, agent=None))
    with pytest.raises(UserError, match="has no agent yet"):
        alone.policy()


def test_ctrl_c_is_heard_in_the_main_thread_only() -> None:
    """So that a run may be trained in another one, as programs with windows do."""
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    with ThreadPoolExecutor(1) as worker:
        assert worker.submit(_interruptible).result() is before
    assert signal.getsignal(signal.SIGINT) is before


def _interruptible() -> object:
    with Interrupt():
        return signal.getsignal(signal.SIGINT)
