"""A package with a task of its own, built and installed by pip: collected, trained, scored, reported, read back."""

import json
import os
import subprocess
import sys
from pathlib import Path

import toy_gymnasium
from toy_gymnasium import HOME
from toy_runs import TOY

import latent_combo
from envs.registry import is_name

PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "their-points"
version = "1.0"

[project.entry-points."latent_combo.tasks"]
their-point = "their_points:task"

[tool.setuptools]
py-modules = ["their_points"]
"""

TASK = """

def task():
    from envs.adapters.gymnasium import gymnasium_task

    seen = ("place", "velocity", "camera")
    return gymnasium_task("their-point", Point, seen, horizon=70, image_size=32, random_return=20.0, expert_return=60.0)
"""

CHAIN = """
import importlib, json, sys

import numpy as np
import latent_combo
import latent_combo.pipeline.measure
from envs.make import make
from latent_combo.runtime.media import MediaWriter

MediaWriter.picture = MediaWriter.clip = lambda *given, **named: None  # most of a tiny run's time
latent_combo.pipeline.measure.draw_curves = lambda run: [np.zeros((1, 1, 3), np.uint8)]
folder, *commands = json.loads(sys.argv[1])
for module, *sys.argv[1:] in commands:
    importlib.import_module(module).main()

run = latent_combo.load_run(folder)
policy, actions = run.policy(), []
with make(run.task, "pixels", image_size=32) as env:
    image, info = env.reset(seed=0)
    for _ in range(3):
        actions.append(policy.act({"image": image, "state": info["state"]}))
        image, _, _, _, info = env.step(actions[-1])
told = {
    "made by": type(env._env).__module__,
    "return": run.result.agents[0].returns[0],
    "sees": [run.vectors.names[index] for index in run.vectors.indices],
    "image": list(run.dataset().observation.shape[1:]),
    "states": list(run.dataset().vector.shape[1:]),
    "actions": np.abs(actions).max(1).tolist(),
}
print(json.dumps(told))
"""


def test_a_package_that_pip_installs_brings_a_task_for_every_command(tmp_path: Path) -> None:
    package, site, home = tmp_path / "package", tmp_path / "site", tmp_path / "home.py"
    package.mkdir()
    (package / "pyproject.toml").write_text(PROJECT)
    (package / "their_points.py").write_text(Path(toy_gymnasium.__file__).read_text() + TASK)
    home.write_text(HOME)
    own = str(Path(latent_combo.__file__).parents[1])
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([own, str(site)]), "PIP_CONFIG_FILE": os.devnull}

    def python(*arguments: str | Path) -> str:
        """What a process prints that runs where nothing is but what was installed."""
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=around, capture_output=True, text=True, timeout=300
        )
        assert not done.returncode, done.stderr
        return done.stdout

    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    python("-m", "pip", "install", *offline, "--target", site, package)
    assert not is_name("their-point")  # in this process, which does not have it

    collected = ("--episodes", "3", "--processes", "1", "--policy", f"{home}:home")
    python("-m", "data.collect", "their-point", "own", "data/their-point-own", *collected)
    settings = TOY.replace("--dataset tiny", "--dataset their-point-own --data_dir data --out run").split()
    seen = ("--rssm.discount_head", "true", "--vectors", "velocity", "--rssm.vector_hidden", "8")
    sparing = ("--views.every", "0", "--agent_fit.evaluations", "1")
    commands = [
        ["latent_combo.train", *settings, *seen, *sparing],
        ["latent_combo.evaluate", "run", "--episodes", "1"],
        ["latent_combo.report", "run", "--out", "report.html"],
    ]
    *_, last = (printed := python("-c", CHAIN, json.dumps(["run", *commands]))).splitlines()
    told = json.loads(last)
    assert told["made by"] == "their_points"
    assert (told["image"], told["states"], told["sees"]) == ([32, 32, 3], [2], ["velocity 0", "velocity 1"])
    assert len(told["actions"]) == 3 and 0.0 < max(told["actions"]) <= 1.0
    assert f"agent 0: return {told['return']:.1f} " in printed and "random policy 20.0, expert 60.0" in printed
    assert "their-point" in (page := (tmp_path / "report.html").read_text()) and "vectors: velocity" in page
