"""Sinks of a run's scalars: what Trackio and Weights & Biases are given, also after a kill. No package, no network."""

import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from toy_grid import SMALL, bare, record

from combo_common.errors import UserError
from latent_combo import train as trainer
from latent_combo.config.command_line import parse
from latent_combo.runtime.metrics import Kept, MetricsLog
from latent_combo.runtime.sinks import IDENTITY, require_installed


class Fake(ModuleType):
    """Stands for both packages: keeps what its runs are opened with and given, and knows them by id or name."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.opened: list[dict[str, Any]] = []
        self.points: list[tuple[int | None, dict[str, float]]] = []
        self.axes: dict[str, str | None] = {}
        self.finished = 0
        self.api = SimpleNamespace(api_key=None)
        self.fails: Exception | None = None

    def init(self, **given: Any) -> "Fake":
        if self.fails is not None:
            raise self.fails
        self.opened.append(given)
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.axes[name] = step_metric

    def log(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        if self.fails is not None:
            raise self.fails
        self.points.append((step, dict(metrics)))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    for name in ("TRACKIO_PROJECT", "TRACKIO_SPACE_ID", "WANDB_PROJECT", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    made = {name: Fake(name) for name in ("trackio", "wandb")}
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


def written(folder: Path, steps: list[int], kept: Kept | None = None, close: bool = True) -> None:
    """A log of both phases, as of a run that logs these steps of each."""
    log = MetricsLog(folder, kept, ["low", "high"], ["wandb", "trackio"], {"seed": 3})
    for phase in ("world_model", "agent"):
        for step in steps:
            log.write(phase, step, {"loss": step / 2, "q": torch.tensor([1.0, 2.0])})
    if close:
        log.close()


def test_scalars_have_their_phase_step_and_the_agents_names(packages: dict[str, Fake], tmp_path: Path) -> None:
    written(tmp_path / "run", [10, 20])
    values = {"loss": 5.0, "q/low": 1.0, "q/high": 2.0}
    of = {phase: {f"{phase}/{name}": value for name, value in values.items()} for phase in ("world_model", "agent")}
    trackio, wandb = packages["trackio"], packages["wandb"]
    assert trackio.points[0] == (10, of["world_model"]) and trackio.points[2] == (10, of["agent"])
    assert wandb.points[0] == (None, {"world_model/step": 10, **of["world_model"]})
    assert wandb.points[2] == (None, {"agent/step": 10, **of["agent"]})
    assert wandb.axes == {
        **{f"{phase}/step": None for phase in of},
        **{f"{phase}/*": f"{phase}/step" for phase in of},
    }
    assert trackio.finished == wandb.finished == 1
    assert not (tmp_path / "run" / "tensorboard").exists()  # which was not asked for


def test_runs_are_known_by_an_id_in_their_folder_and_offline_unless_there_is_a_key(
    packages: dict[str, Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "hopper" / "cql" / "seed0"
    written(run, [10])
    identity = (run / IDENTITY).read_text().strip()
    written(run, [20], Kept({"world_model": 10, "agent": 10}, {}))
    packages["wandb"].api.api_key = "key"
    monkeypatch.setenv("TRACKIO_PROJECT", "mine")
    written(tmp_path / "other", [10])
    monkeypatch.setenv("WANDB_MODE", "offline")
    written(tmp_path / "third", [10])
    first, again, other, third = packages["wandb"].opened
    assert (
        first
        == again
        == {
            **{
                "project": "latent-combo",
                "id": identity,
                "name": "hopper-cql-seed0",
                "dir": str(run),
                "config": {"seed": 3},
            },
            **{"resume": "allow", "mode": "offline"},
        }
    )
    assert other["id"] != identity and (other["mode"], third["mode"]) == ("online", "offline")
    opened = packages["trackio"].opened
    assert (
        opened[0] == opened[1]
        and opened[0]["name"] == f"hopper-cql-seed0-{identity}"
        and opened[0]["resume"] == "allow"
    )
    assert (opened[0]["project"], opened[2]["project"]) == ("latent-combo", "mine")


def test_a_resumed_run_gives_no_step_twice_and_leaves_none_out(packages: dict[str, Fake], tmp_path: Path) -> None:
    written(tmp_path, [10, 20, 30], close=False)  # killed after the checkpoints of steps 30 and 10
    written(tmp_path, [20, 30, 40], Kept({"world_model": 30, "agent": 10}, {}))
    for name, step in (("trackio", lambda p: p[0]), ("wandb", lambda p: p[1].get("agent/step"))):
        steps = [step(point) for point in packages[name].points if "agent/loss" in point[1]]
        assert steps == [10, 20, 30, 40]
    with open(tmp_path / "metrics.csv") as file:
        rows = [(row["phase"], row["step"]) for row in csv.DictReader(file) if row["name"] == "loss"]
    assert rows[3:] == [("agent", "10"), *((p, s) for p in ("world_model", "agent") for s in ("20", "30", "40"))]


def test_a_sink_that_fails_ends_no_run(
    packages: dict[str, Fake], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = MetricsLog(tmp_path, names=["tensorboard", "wandb"])
    packages["wandb"].fails = OSError("no space left\non the disk")
    for step in (1, 2):
        log.write("agent", step, {"loss": 1.0})
    log.close()
    said = capsys.readouterr().err
    assert said == "warning: Weights & Biases takes no more scalars of this run (OSError: no space left)\n"
    assert (tmp_path / "metrics.csv").read_text().count("loss") == 2 and list((tmp_path / "tensorboard").iterdir())


def test_what_can_not_be_opened_or_is_not_installed_is_a_line(
    packages: dict[str, Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages["wandb"].fails = ConnectionError("no network")
    with pytest.raises(UserError, match=r"log has wandb, .*\(ConnectionError: no network\); set WANDB_MODE=offline"):
        MetricsLog(tmp_path / "one", names=["wandb"])
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UserError, match=r'not installed: pip install "latent-combo\[trackio\]"'):
        require_installed(["tensorboard", "trackio"])
    record(tmp_path, "toy-pendulum")
    data = ["--dataset", str(tmp_path / "toy-pendulum.hdf5"), "--data-dir", str(tmp_path), "--log", "trackio"]
    with bare(), pytest.raises(UserError, match="latent-combo\\[trackio\\]"):
        trainer.train(*parse([*SMALL.split(), *data, "--out", str(tmp_path / "two")]))
    assert not (tmp_path / "two").exists()  # it is said before anything is made


def test_a_whole_run_gives_the_rows_of_its_csv(packages: dict[str, Fake], tmp_path: Path) -> None:
    record(tmp_path, "toy-pendulum")
    data = ["--dataset", str(tmp_path / "toy-pendulum.hdf5"), "--data-dir", str(tmp_path), "--algorithm", "bc"]
    with bare():
        trainer.train(*parse([*SMALL.split(), *data, "--out", str(tmp_path / "run"), "--log", "tensorboard,trackio"]))
    with open(tmp_path / "run" / "metrics.csv") as file:
        rows = {(row["phase"], row["step"], row["name"]): float(row["value"]) for row in csv.DictReader(file)}
    given = {
        (*tag.split("/", 1), str(step)): value
        for step, point in packages["trackio"].points
        for tag, value in point.items()
    }
    assert {(phase, name, step): value for (phase, step, name), value in rows.items()} == pytest.approx(given, rel=1e-6)
    assert packages["wandb"].opened == [] and json.dumps(packages["trackio"].opened[0]["config"])


@pytest.mark.parametrize(
    ("words", "log"),
    [
        ([], ["tensorboard"]),
        (["--log", "wandb"], ["wandb"]),
        (["--log=tensorboard,trackio"], ["tensorboard", "trackio"]),
        (["--log", "[trackio, wandb, wandb]"], ["trackio", "wandb"]),
        (["--log", "[]"], []),
    ],
)
def test_sinks_are_a_list_or_words_with_commas(words: list[str], log: list[str]) -> None:
    assert parse(["--dataset", "hopper-mini", "--obs", "state", *words])[0].log == log


def test_an_unknown_sink_is_a_line() -> None:
    with pytest.raises(
        UserError, match=r"log is 'wadb'; it is one of tensorboard, trackio, wandb; did you mean wandb\?"
    ):
        parse(["--dataset", "hopper-mini", "--log", "tensorboard,wadb"])
