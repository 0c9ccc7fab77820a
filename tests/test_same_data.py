"""A run goes on, and is drawn, on the data that it began with, and on no others of the same name."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy_pendulum
from test_formats import HOPPER, SIZE, WALKER, episodes_of, needs_minari

import latent_combo
from combo_common.errors import UserError
from data.conversion import convert
from data.episode import Episode
from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.load import load_pixels, load_states
from data.source import open_source
from latent_combo import visualise
from latent_combo.config.command_line import parse
from latent_combo.config.pretrained import read_recipe
from latent_combo.config.recipe import Recipe
from latent_combo.config.schema import Config
from latent_combo.export import export
from latent_combo.pipeline import same_data
from latent_combo.pipeline.load_run import load_run
from latent_combo.runtime.media import MediaWriter
from latent_combo.runtime.run_folder import DATASET
from latent_combo.train import train

LAYOUTS = ["own", "dreamer", "lompo", "d4rl", pytest.param("minari", marks=needs_minari)]
REMEDY = "put those data back, or"


def _copy(layout: str, folder: Path, episodes: list[Episode]) -> str:
    """Episodes in a layout, in place of what is there; returns their name."""
    task = HOPPER if layout == "d4rl" else WALKER
    shutil.rmtree(folder, ignore_errors=True)
    described = describe(task, "medium", 0, {})
    if episodes[0].image is not None:
        described = replace(described, image_size=SIZE, look="fast")
    write_dataset(folder / "source", episodes, described, progress=False)
    name = {"minari": "walker-walk/same-v0", "d4rl": str(folder / "copy.hdf5")}.get(layout, str(folder / "copy"))
    convert(open_source(str(folder / "source"), None, folder), name, layout, progress=False)
    return name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_known_by_its_content_and_not_by_its_place(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = HOPPER if layout == "d4rl" else WALKER
    episodes = episodes_of(task, image=layout != "d4rl")
    changed = [replace(episodes[0], reward=np.where(episodes[0].is_first, 0.0, 0.25).astype(np.float32)), *episodes[1:]]
    found = []
    for number, content in enumerate((episodes, changed)):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / f"minari-{number}"))
        name = _copy(layout, tmp_path / "here", content)
        data = load_states(name, task, tmp_path, progress=False)
        found.append(data.fingerprint)
        assert len(data.fingerprint) == 64
        if layout != "d4rl":  # images of the same files are known by the same
            drawn = load_pixels(name, task, "fast", tmp_path, image_size=SIZE, progress=False)
            again = load_pixels(name, task, "fast", tmp_path, image_size=SIZE, progress=False, skip_corrupt=True)
            assert drawn.fingerprint == again.fingerprint == data.fingerprint
    assert found[0] != found[1]
    if layout != "minari":
        moved = shutil.move(name, tmp_path / Path(name).name)
        assert load_states(str(moved), task, tmp_path, progress=False).fingerprint == found[1]


def test_files_whose_names_are_no_text_are_known_by_their_content(tmp_path: Path) -> None:
    name = _copy("dreamer", tmp_path / "here", episodes_of(WALKER))
    for file in sorted(Path(name).glob("*.npz"))[:1]:
        os.rename(file, file.with_name(os.fsdecode(b"caf\xe9.npz")))
    assert load_states(name, WALKER, tmp_path, progress=False).fingerprint


BRIEF = """
    --obs state --ensemble.hidden 8 --world_model_fit.steps 4 --world_model_fit.batch 16 --agent.batch 16
    --agent.num_agents 1 --agent.network.hidden 8 --agent.actor_network.hidden 8 --agent_fit.updates 4
    --agent_fit.warm_up 2 --agent_fit.evaluations 0 --agent_fit.rollout_batch_size 10 --score.episodes 1
    --views.every 0 --views.clips 1 --views.segments 4 --views.episodes 1 --save_every 2 --device cpu --products mkl
"""


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blank_figures: None) -> Iterator[Config]:
    """A run that was stopped after its world model, whose dataset was then replaced in its place."""

    def nothing(*given: object) -> None:
        raise UserError("nothing draws here")

    monkeypatch.setattr(MediaWriter, "_submit", lambda gallery, work: None)
    monkeypatch.setattr("latent_combo.diagnostics.agent.film", nothing)
    with toy_pendulum.registered():
        file, out = tmp_path / "toy-pendulum.hdf5", tmp_path / "run"
        toy_pendulum.dataset(file, episodes=12)
        config = parse([*BRIEF.split(), "--dataset", str(file), "--data_dir", str(tmp_path), "--out", str(out)])[0]
        with monkeypatch.context() as patched, pytest.raises(UserError, match="enough"):
            patched.setattr("latent_combo.train.encode", lambda *given: (_ for _ in ()).throw(UserError("enough")))
            train(config)
        shutil.copy(file, tmp_path / "before.hdf5")
        file.unlink()
        toy_pendulum.dataset(file, episodes=12, seed=500)
        yield config


def test_a_run_is_not_resumed_drawn_or_read_on_data_that_were_replaced(stopped: Config, tmp_path: Path) -> None:
    file, out = Path(stopped.dataset), Path(stopped.out)
    kept = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    line = f"^{file} is not what it was when {out} began: fingerprint [0-9a-f]{{12}} then, [0-9a-f]{{12}} now; {REMEDY}"
    with pytest.raises(
        UserError, match=f"{line} train anew with another --out, or take the change knowingly: .*--accept"
    ):
        train(stopped, resume=True)
    with pytest.raises(UserError, match=line):
        visualise.visualise(out, load_run(out), 0)
    with pytest.raises(UserError, match=line):
        latent_combo.load_run(out).dataset()
    assert {path: path.read_bytes() for path in kept} == kept
    shutil.copy(tmp_path / "before.hdf5", file)
    assert latent_combo.load_run(out).dataset().fingerprint == same_data.read_fingerprint(out)
    assert train(stopped, resume=True).return_mean > 0.0


def test_a_world_model_of_the_same_name_and_other_data_is_refused(stopped: Config, tmp_path: Path) -> None:
    out, model = Path(stopped.out), tmp_path / "model.safetensors"
    export(out, model)
    recipe = read_recipe(model)
    assert isinstance(recipe, Recipe) and recipe.fingerprint == same_data.read_fingerprint(out)
    agents = BRIEF.split()
    for name in ("--world_model_fit.steps", "--world_model_fit.batch"):
        del agents[agents.index(name) : agents.index(name) + 2]
    for source in (out, model):
        given = ["--data_dir", str(tmp_path), "--out", str(tmp_path / "on"), "--world_model", str(source)]
        config = parse([*agents, *given])[0]
        with pytest.raises(UserError, match=f"is not what the world model of {source} was fitted to: .*{REMEDY} fit"):
            train(config)
        assert not (tmp_path / "on").exists()
    other = parse([*agents, *given, "--dataset", str(tmp_path / "before.hdf5")])[0]
    assert train(other).pretrained_world_model == str(model)  # under another name it is said, and not refused


def test_a_run_of_before_that_does_not_say_goes_on_and_a_damaged_word_is_named(stopped: Config) -> None:
    out = Path(stopped.out)
    (out / DATASET).write_text("{")
    with pytest.raises(UserError, match=f"{DATASET} can not be read .* remove it to go on unchecked"):
        train(stopped, resume=True)
    (out / DATASET).unlink()
    train(stopped, resume=True)
    assert same_data.read_fingerprint(out) == latent_combo.load_run(out).dataset().fingerprint
