"""A fitted world model is a file that says what it is, and agents are trained on it as on one fitted in the run."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch
import toy_pendulum
import yaml

from combo_common.errors import UserError
from envs.registry import get_task
from latent_combo.agent.fit import AgentFit
from latent_combo.config.command_line import parse, settings_files
from latent_combo.config.pretrained import read_pretrained, read_recipe
from latent_combo.config.recipe import METADATA, Recipe
from latent_combo.config.saved import save_config
from latent_combo.config.schema import Config
from latent_combo.export import export
from latent_combo.pipeline.build import build_world_model, load_pretrained
from latent_combo.pipeline.load_run import load_run
from latent_combo.runtime import checkpoint
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.run_folder import WORLD_MODEL
from latent_combo.train import train

CPU = torch.device("cpu")
AGENTS = """
    --agent.num_agents 1 --agent.batch 16 --agent.network.hidden 16 --agent.actor_network.hidden 16
    --agent_fit.updates 6
    --agent_fit.warm_up 2 --agent_fit.evaluations 0 --agent_fit.rollout_batch_size 10 --score.episodes 1
    --views.every 0 --views.clips 1
    --views.segments 4 --views.episodes 1 --save_every 2 --device cpu --products mkl --seed 5
"""


@pytest.fixture(autouse=True)
def nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*given: object) -> None:
        raise UserError("nothing draws here")

    monkeypatch.setattr(MediaWriter, "_submit", lambda gallery, work: None)
    monkeypatch.setattr("latent_combo.diagnostics.agent.film", nothing)


@pytest.fixture
def file(finished: Path, tmp_path: Path) -> Path:
    """The finished run's world model as a file."""
    export(finished, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def pendulum(tmp_path: Path) -> Iterator[Path]:
    """A run of states whose world model counts as fitted; `toy-pendulum.hdf5` lies beside it."""
    with toy_pendulum.registered():
        toy_pendulum.dataset(tmp_path / "toy-pendulum.hdf5", episodes=30)
        named = ["--dataset", str(tmp_path / "toy-pendulum.hdf5"), "--data_dir", str(tmp_path), "--seed", "3"]
        sizes = [
            "--ensemble.hidden",
            "12",
            "--ensemble.weight_decay=[1e-5,2.5e-05]",
            "--world_model_fit.steps",
            "9",
            "--validation_fraction",
            "0.3",
        ]
        config = parse(["--obs", "state", *named, *sizes, "--out", str(tmp_path / "run")])[0]
        model = build_world_model(config, toy_pendulum.TASK, CPU)
        (tmp_path / "run").mkdir()
        save_config(config, tmp_path / "run" / "config.yaml")
        fit = {"model": model.state_dict(), "step": 4, "stopped": True}  # no look was better
        checkpoint.save(tmp_path / "run" / WORLD_MODEL, 4, {"fit": fit, "seconds": {}})
        yield tmp_path / "run"


def weights(run: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = checkpoint.load(run / WORLD_MODEL, CPU)["fit"]["model"]
    return found


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype and torch.equal(found[name], value), name


def changed(file: Path, out: Path, **by: Any) -> Path:
    """A copy of an exported file with another recipe."""
    with safetensors.safe_open(file, "pt") as opened:
        recipe = json.loads(opened.metadata()[METADATA])
    tensors = safetensors.torch.load_file(file)
    safetensors.torch.save_file(tensors, out, {METADATA: json.dumps(recipe | by)})
    return out


def test_an_exported_model_says_what_it_is_and_has_the_same_weights(finished: Path, file: Path) -> None:
    recipe, found = read_pretrained(file)
    assert_same(found, weights(finished))
    config, result = load_run(finished).config, json.loads((finished / "result.json").read_text())
    assert recipe is not None
    assert (recipe.obs, recipe.task, recipe.look, recipe.image_size) == ("pixels", "walker-walk", "fast", 32)
    assert (recipe.dataset, recipe.split_seed, recipe.validation_fraction, recipe.steps) == (
        "tiny",
        0,
        config.validation_fraction,
        6,
    )
    assert (recipe.metrics, recipe.versions) == (result["world_model"], result["versions"])
    settings = yaml.safe_load((finished / "config.yaml").read_text())
    assert (recipe.model, recipe.world_model_fit) == (settings["rssm"], settings["world_model_fit"])
    assert read_recipe(finished) == recipe
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with safetensors.safe_open(file, "pt") as opened:  # as anybody else's program would
        assert json.loads(opened.metadata()["recipe"])["rssm"] == recipe.model


def test_a_file_of_format_1_is_read(file: Path, tmp_path: Path) -> None:
    with safetensors.safe_open(file, "pt") as opened:
        said = json.loads(opened.metadata()[METADATA])
    model = said.pop("rssm")
    old = {**said, "format": 1, "world_model": {**model, "rssm": model["dynamics"]}}
    del old["world_model"]["dynamics"]
    old |= {
        "held_out": old.pop("validation_fraction"),
        "fit": old.pop("world_model_fit"),
        "quality": old.pop("metrics"),
    }
    assert Recipe.from_json(json.dumps(old), file) == read_recipe(file)
    bare = Recipe.from_json(json.dumps({**old, "fit": None}), file)
    assert bare.world_model_fit is None and bare.model == model
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "old.safetensors", {METADATA: json.dumps(old)})
    config = parse(["--fitted", str(tmp_path / "old.safetensors")])[0]
    assert (config.world_model, config.rssm.dynamics.hidden) == (str(tmp_path / "old.safetensors"), 16)


def test_what_can_not_be_exported_is_named_in_a_line(finished: Path, file: Path, tmp_path: Path) -> None:
    half, none = tmp_path / "half", tmp_path / "none"
    for run in (half, none):
        shutil.copytree(finished, run, ignore=shutil.ignore_patterns("views", "videos", "tensorboard"))
    shutil.rmtree((none / WORLD_MODEL).parent)
    shutil.rmtree(half / f"{WORLD_MODEL}-0000006")  # the one before is of step 4
    before = file.read_bytes()
    for run, out, named in (
        (finished, file, "model.safetensors is there already"),
        (finished, tmp_path / "model.pt", "does not end in .safetensors"),
        (half, tmp_path / "new.safetensors", f"at step 4 of 6; fit it to the end: .*--resume {half}"),
        (none, tmp_path / "new.safetensors", "has no world model yet"),
        (tmp_path, tmp_path / "new.safetensors", "is not a run: it has no config.yaml"),
    ):
        with pytest.raises(UserError, match=named) as error:
            export(run, out)
        assert "\n" not in str(error.value)
    assert file.read_bytes() == before and not (tmp_path / "new.safetensors").exists()
    with pytest.raises(UserError, match="at step 4 of 6"):
        parse(["--world_model", str(half)])


def test_its_settings_lie_between_the_preset_and_the_command_line(finished: Path, file: Path) -> None:
    given = ("--preset", "small", "--dataset", "tiny", "--task", "walker-walk")
    config = parse(["--world_model", str(file), *given, "--seed", "5"])[0]
    fitted = load_run(finished).config
    conv = config.rssm.conv
    assert (conv.encoder_channels, conv.ways) == ((4, 4, 8), ())  # ways are of the machine that fitted it
    assert config.rssm.dynamics == fitted.rssm.dynamics
    assert (config.world_model, config.preset, config.seed, config.seed_of_split) == (str(file), "small", 5, 0)
    assert config.validation_fraction == fitted.validation_fraction
    assert config.world_model_fit == parse(["--preset", "small"])[0].world_model_fit
    assert parse([f"--world_model={file}", *given, "--seed", "5"])[0] == config
    assert parse(["--fitted", str(file), *given, "--seed", "5"])[0] == config  # the name of before
    assert settings_files(["--world_model", str(file), *given])[-1] == file
    bare = parse(["--world_model", str(file), "--rssm.conv.bfloat16", "false"])[0]
    assert (bare.dataset, bare.task, bare.rssm.conv.bfloat16) == ("tiny", "walker-walk", False)
    again = parse(["--config", str(finished / "config.yaml"), "--world_model", str(finished), "--seed", "5"])[0]
    assert (again.seed, again.seed_of_split, again.world_model) == (5, 0, str(finished))
    other = parse(["--world_model", str(file), "--dataset", "walker-walk-mini", "--split_seed", "9"])[0]
    assert (other.dataset, other.seed_of_split) == ("walker-walk-mini", 9)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("--obs state", "obs is state, but the world model of .*model.safetensors has pixels; set --obs pixels"),
        ("--task hopper", "task is hopper, but .* has walker-walk"),
        ("--dataset sawyer-door-expert", "task is sawyer-door, but .* has walker-walk"),
        ("--look full", "look is full, but .* has fast"),
        ("--rssm.conv.image_size 64", "image_size is 64, but .* has 32"),
        ("--rssm.dynamics.hidden 32", "rssm.dynamics.hidden is 32, but .* has 16"),
        ("--rssm.kl_weight 1", "kl_weight is 1.0, but .* has 0.01"),
        ("--split_seed 1", "split_seed is 1, but .* has 0"),
        ("--validation_fraction 0.4", "validation_fraction is 0.4, but .* has 0.1"),
        ("--world_model_fit.steps 9", "--world_model_fit.steps is of fitting a world model, but that of .* is fitted"),
        ("--world_model_fit.steps=9", "--world_model_fit.steps is of fitting"),
        ("--world_model", "--world-model names nothing"),
        ("--world_model= --seed 1", "--world-model names nothing"),
        ("--world_model nowhere", "nowhere is not there"),
        ("--split_seed=-1 --dataset walker-walk-mini", "split_seed is -1"),
    ],
)
def test_what_disagrees_with_it_is_named_in_a_line(arguments: str, named: str, file: Path) -> None:
    with pytest.raises(UserError, match=named) as error:
        parse(["--world_model", str(file), *arguments.split()])
    assert "\n" not in str(error.value)


def test_a_model_of_unknown_data_needs_data_of_its_task(file: Path, tmp_path: Path) -> None:
    other = changed(file, tmp_path / "other.safetensors", dataset=None, task="sawyer-door")
    with pytest.raises(
        UserError, match="task is sawyer-door, but .* is cartpole-balance-mini, .* name a --dataset of sawyer"
    ):
        parse(["--world_model", str(other)])
    config = parse(["--world_model", str(other), "--dataset", "sawyer-door-expert"])[0]
    assert (config.task, config.dataset, config.seed_of_split) == ("sawyer-door", "sawyer-door-expert", 0)


def test_data_whose_look_nobody_knows_need_a_word(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "walker_walk" / "64px"
    folder.mkdir(parents=True)
    (folder / "20220101T000000-a-5.npz").touch()
    given = ["--world_model", str(file), "--dataset", str(folder)]
    with pytest.raises(UserError, match="look is full, but .* has fast; set --look fast"):
        parse(given)
    assert parse([*given, "--look", "fast"])[0].look == "fast"


@pytest.mark.usefixtures("short", "blank_figures")
def test_agents_are_trained_on_it_and_the_file_may_go(
    finished: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, step = tmp_path / "on", AgentFit.take_step
    data = str(finished.parent.parent / "data")
    ways = "--rssm.conv.ways=[plain,plain,plain,product,plain,plain]"  # measuring them takes a second
    config = parse([*AGENTS.split(), ways, "--world_model", str(file), "--data_dir", data, "--out", str(out)])[0]

    def stop(self: AgentFit, report: bool = True) -> object:
        if self.step == 4:
            raise UserError("stopped")
        return step(self, report)

    with monkeypatch.context() as patched:
        patched.setattr(AgentFit, "take_step", stop)
        with pytest.raises(UserError, match="stopped"):
            train(config)
    assert "model.safetensors, fitted to tiny, 6 steps" in capsys.readouterr().out
    expected = weights(finished)
    assert_same(weights(out), expected)
    original = read_recipe(file)
    file.unlink()
    resumed, resume = parse(["--resume", str(out)])
    assert resume and (resumed.world_model, resumed.seed, resumed.split_seed) == (str(file), 5, 0)
    result = train(resumed, resume)
    assert json.loads((out / "result.json").read_text())["pretrained_world_model"] == str(file)
    assert result.rates["model_frames_per_s"] is None and (result.rates["agent_updates_per_s"] or 0.0) > 0.0
    assert result.world_model.open_loop["open_loop_psnr"].keys() == {1, 5, 15, 50}
    assert "world_model" not in result.seconds
    assert (out / "report.html").exists() and (out / "curves.png").exists()
    run = load_run(out)
    assert_same(run.world_model.state_dict(), expected)
    assert (run.model_step, run.agent_step) == (6, 6)
    export(out, tmp_path / "again.safetensors")  # what was fitted to what is said on
    assert read_recipe(tmp_path / "again.safetensors") == original


def test_one_of_states_is_used_by_its_run_its_file_and_its_bare_weights(
    pendulum: Path, tmp_path: Path, blank_figures: None, capsys: pytest.CaptureFixture[str]
) -> None:
    export(pendulum, tmp_path / "model.safetensors")
    recipe = read_recipe(tmp_path / "model.safetensors")
    assert recipe is not None and (recipe.image_size, recipe.metrics, recipe.steps) == (None, None, 4)
    given = [*AGENTS.split(), "--data_dir", str(tmp_path), "--out", str(tmp_path / "on")]
    config = parse([*given, "--world_model", str(pendulum)])[0]
    assert (config.obs, config.task, config.split_seed) == ("state", "toy-pendulum", 3)
    assert config.ensemble.weight_decay == (1e-5, 2.5e-5)
    result = train(config)
    assert result.pretrained_world_model == str(pendulum) and "explained" in result.world_model.one_step
    assert_same(weights(tmp_path / "on"), weights(pendulum))  # their scales, too

    tensors, bare = weights(pendulum), tmp_path / "bare"
    bare.mkdir()
    for number in range(2):
        part = {name: tensors[name].contiguous() for name in sorted(tensors)[number::2]}
        safetensors.torch.save_file(part, bare / f"part_{number}.safetensors")
    dataset = str(tmp_path / "toy-pendulum.hdf5")
    sizes = ["--ensemble.hidden", "12", "--ensemble.weight_decay=[1e-5,1e-5]"]
    described = parse([*given, "--obs", "state", "--dataset", dataset, *sizes, "--world_model", str(bare)])[0]
    capsys.readouterr()
    model, said = load_pretrained(bare, described, toy_pendulum.TASK, CPU)
    assert_same(dict(model.state_dict()), tensors)
    assert not any(p.requires_grad for p in model.parameters())
    assert (said.dataset, said.steps, said.metrics) == (None, None, None)
    assert "fitted to unknown data: what is held out of" in capsys.readouterr().out


def describing(*more: str) -> Config:
    sizes = ["--ensemble.hidden", "4", "--ensemble.weight_decay=[1e-5,1e-5]", "--ensemble.members", "5"]
    return parse(["--obs", "state", *sizes, *more])[0]


def refused(path: Path, config: Config) -> str:
    with pytest.raises(UserError) as error:
        load_pretrained(path, config, get_task("hopper"), CPU)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


def test_bare_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    config = describing()
    tensors = dict(build_world_model(config, get_task("hopper"), CPU).state_dict())

    def saved(**by: torch.Tensor | None) -> Path:
        kept = {name: tensor for name, tensor in (tensors | by).items() if tensor is not None}
        safetensors.torch.save_file(kept, tmp_path / "model.safetensors")
        return tmp_path / "model.safetensors"

    load_pretrained(saved(), config, get_task("hopper"), CPU)
    weight, highest = "networks.weight.0", "networks.highest"
    wider = describing("--ensemble.hidden", "8")
    assert f"{weight} is float32 (5, 14, 4), not float32 (5, 14, 8)" in refused(saved(), wider)
    assert "the settings (--preset, --ensemble.*)" in refused(saved(), wider)
    assert "elite is float32 (5,), not int64 (5,)" in refused(saved(elite=torch.zeros(5)), config)
    assert f"{highest} is not there" in refused(saved(**{highest: None}), config)
    assert "foreign has no place" in refused(saved(foreign=torch.zeros(1)), config)
    assert f"{highest} is not finite" in refused(saved(**{highest: tensors[highest] * torch.nan}), config)
    huge = describing("--ensemble.hidden", "400000000")  # 100 GB, which nobody asks for before the weights have them
    assert f"{weight} is float32 (5, 14, 4), not float32 (5, 14, 400000000)" in refused(saved(), huge)
    shutil.copy(saved(), tmp_path / "other.safetensors")
    assert "other.safetensors holds best_bias_0, and so does another file" in refused(tmp_path, config)


def test_files_that_are_none_are_named(file: Path, tmp_path: Path) -> None:
    (tmp_path / "words.safetensors").write_text("no tensors")
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickled.safetensors")  # which nothing unpickles
    (tmp_path / "cut.safetensors").write_bytes(file.read_bytes()[:-100])
    (tmp_path / "empty").mkdir()
    for name in ("words", "pickled", "cut"):
        path = tmp_path / f"{name}.safetensors"
        with pytest.raises(UserError, match=f"{name}.safetensors can not be read as safetensors"):
            read_pretrained(path)
        path.unlink()
    with pytest.raises(UserError, match="model.safetensors says what it is; name it instead of its folder"):
        read_pretrained(tmp_path)
    with pytest.raises(UserError, match="empty has no world model: it is no run"):
        read_pretrained(tmp_path / "empty")


def spoil(*names: str, by: Any) -> Callable[[dict[str, Any]], None]:
    def change(recipe: dict[str, Any]) -> None:
        for name in names[:-1]:
            recipe = recipe[name]
        recipe[names[-1]] = by

    return change


@pytest.mark.parametrize(
    "change",
    [
        spoil("obs", by="sound"),
        spoil("obs", by=["pixels"]),
        spoil("task", by=3),
        spoil("task", by="walker-wlak"),
        spoil("look", by="blurred"),
        spoil("split_seed", by="zero"),
        spoil("split_seed", by=-1),
        spoil("validation_fraction", by=2.0),
        spoil("steps", by=1.5),
        spoil("format", by=3),
        spoil("rssm", by=[]),
        spoil("rssm", "dynamics", by="settings.yaml"),
        spoil("rssm", "dynamics", "hidden", by=-1),
        spoil("rssm", "dynamics", "depth", by=1),
        spoil("rssm", "conv", "decoder_kernels", by=[6, 6]),
        spoil("more", by=1),
    ],
)
def test_a_recipe_that_is_none_is_refused_in_a_line(
    change: Callable[[dict[str, Any]], None], file: Path, tmp_path: Path
) -> None:
    with safetensors.safe_open(file, "pt") as opened:
        recipe = json.loads(opened.metadata()[METADATA])
    change(recipe)
    safetensors.torch.save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", {METADATA: json.dumps(recipe)})
    with pytest.raises(UserError) as error:
        parse(["--world_model", str(tmp_path / "other.safetensors")])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", "nothing", "[" * 100_000, '{"format": 1}', "3"])
def test_words_that_are_no_recipe_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="here"):
        Recipe.from_json(text, Path("here"))


def test_a_recipe_whose_weights_are_of_another_size_is_refused(file: Path, tmp_path: Path) -> None:
    recipe = read_recipe(file)
    assert recipe is not None
    model = recipe.model | {"head_hidden": 100}
    other = changed(file, tmp_path / "other.safetensors", rssm=model)
    config = parse(["--world_model", str(other)])[0]
    with pytest.raises(UserError, match="do not fit its own recipe: .*head.*, not float32"):
        load_pretrained(other, config, get_task("walker-walk"), CPU)
