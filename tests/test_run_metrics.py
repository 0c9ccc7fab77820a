"""The log of a run: what is written, and what a resumed run keeps."""

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, IMAGES, SCALARS, EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from combo_common.errors import UserError
from latent_combo.runtime.metrics import Kept, MetricsLog
from latent_combo.runtime.run_folder import HEADER


def rows(folder: Path) -> list[tuple[str, ...]]:
    with open(folder / "metrics.csv", newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


def board(folder: Path) -> EventAccumulator:
    everything = dict.fromkeys((HISTOGRAMS, IMAGES, SCALARS), 0)
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance=everything)
    events.Reload()
    return events


def test_scalars_and_vectors_become_rows_and_curves(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    read = log.write("agent", 10, {"loss": torch.tensor(1.5), "q": torch.tensor([2.0, -3.0]), "rate": 40.0})
    log.close()
    assert read == {"loss": 1.5, "q/0": 2.0, "q/1": -3.0, "rate": 40.0}
    assert rows(tmp_path) == [HEADER, *(("agent", "10", name, f"{value:g}") for name, value in read.items())]
    for name, value in read.items():
        (event,) = board(tmp_path).Scalars(f"agent/{name}")
        assert (event.step, event.value) == (10, value)


def test_a_tensor_of_one_agent_is_a_vector_all_the_same(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    assert log.write("agent", 1, {"q": torch.ones(1, requires_grad=True)}) == {"q/0": 1.0}
    assert log.write("agent", 2, {}) == {}
    log.close()


def test_rows_can_be_read_while_the_run_goes_on(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("agent", 1, {"loss": 0.25})
    assert rows(tmp_path)[-1] == ("agent", "1", "loss", "0.25")
    log.close()


def test_a_resumed_run_drops_what_it_will_do_again_phase_by_phase(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for phase in ("world_model", "agent", "score"):
        for step in (10, 20, 30):
            log.write(phase, step, {"loss": step})
    log.close()
    resumed = MetricsLog(tmp_path, Kept({"world_model": 30, "agent": 10}, {}))
    resumed.write("agent", 20, {"loss": -1.0})
    resumed.close()
    assert [row[:2] for row in rows(tmp_path)[1:]] == [
        *(("world_model", "10"), ("world_model", "20"), ("world_model", "30"), ("agent", "10")),
        *(("score", "10"), ("score", "20"), ("score", "30"), ("agent", "20")),
    ]
    assert rows(tmp_path)[-1] == ("agent", "20", "loss", "-1")
    events = board(tmp_path)
    for phase, steps in (("world_model", [10, 20, 30]), ("agent", [10, 20]), ("score", [10, 20, 30])):
        assert sorted(event.step for event in events.Scalars(f"{phase}/loss")) == steps, phase
    assert {event.step: event.value for event in events.Scalars("agent/loss")}[20] == -1.0


def test_a_resumed_run_draws_each_picture_once(tmp_path: Path) -> None:
    kept = Kept({"agent": 10}, {"agent": 9, "values": 10})
    for resume, width in ((None, 1), (kept, 2), (kept, 3)):  # killed twice
        log = MetricsLog(tmp_path, resume)
        for step in (5, 10, 15) if resume is None else (10, 15):
            log.board.image("agent/film", b"", (1, width), step)
        for step in (10, 15) if resume is None else (15,):
            log.board.histogram("values/all", np.full(width, 1.0), step)
        log.board.hyperparameters({"seed": width}, {"result/return": 1.0})
        log.close()
    events = board(tmp_path)
    assert sorted((event.step, event.width) for event in events.Images("agent/film")) == [(5, 1), (10, 3), (15, 3)]
    found = [(event.step, event.histogram_value.num) for event in events.Histograms("values/all")]
    assert sorted(found) == [(10, 1.0), (15, 3.0)]
    files = [EventFileLoader(str(path)).Load() for path in sorted((tmp_path / "tensorboard").glob("*tfevents*"))]
    tags = [value.tag for events in files for event in events for value in event.summary.value]
    assert tags.count("_hparams_/session_start_info") == 1


def test_an_event_cut_short_by_a_kill_hides_nothing(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    for step in (10, 20):
        log.write("agent", step, {"loss": step})
    log.close()
    (events,) = (tmp_path / "tensorboard").glob("*tfevents*")
    events.write_bytes(events.read_bytes()[:-3])
    for resume in (20, 10):
        resumed = MetricsLog(tmp_path, Kept({"agent": resume}, {}))
        resumed.write("agent", 30, {"loss": 30})
        resumed.close()
    assert sorted(event.step for event in board(tmp_path).Scalars("agent/loss")) == [10, 30]


def test_a_kill_while_events_are_taken_out_leaves_no_second_file_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = MetricsLog(tmp_path)
    for step in (10, 20):
        log.write("agent", step, {"loss": step})
    log.close()
    replace = os.replace

    def killed(source: Path, to: Path) -> None:
        if Path(to).name != "metrics.csv":
            shutil.copytree(tmp_path, tmp_path.with_name("killed"))
        replace(source, to)

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", killed)
        MetricsLog(tmp_path, Kept({"agent": 10}, {})).close()
    assert [event.step for event in board(tmp_path.with_name("killed")).Scalars("agent/loss")] == [10, 20]
    MetricsLog(tmp_path.with_name("killed"), Kept({"agent": 10}, {})).close()
    assert [event.step for event in board(tmp_path.with_name("killed")).Scalars("agent/loss")] == [10]


def test_what_is_logged_is_in_the_files_once_it_is_flushed(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path)
    log.write("agent", 10, {"loss": 1.0})
    log.flush()
    assert [event.step for event in board(tmp_path).Scalars("agent/loss")] == [10]
    log.close()


def test_a_run_of_before_goes_on_under_the_names_of_now(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("phase,step,name,value\nagent,1,held_out_told_q/0,2\nagent,1,q_data/0,3\n")
    MetricsLog(tmp_path, Kept({"agent": 9}, {})).close()
    assert rows(tmp_path)[1:] == [("agent", "1", "validation_q_complete/0", "2"), ("agent", "1", "q_data/0", "3")]


def test_a_row_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("phase,step,name,value\nagent,1,loss,2\nagent,2,loss,0.0")
    MetricsLog(tmp_path, Kept({"agent": 9}, {})).close()
    assert rows(tmp_path) == [HEADER, ("agent", "1", "loss", "2")]


@pytest.mark.parametrize("row", ["agent,soon,loss,1", "agent,2,loss", "agent,2,loss,1,1"])
def test_an_unsound_log_is_refused_and_left_alone(tmp_path: Path, row: str) -> None:
    content = f"phase,step,name,value\n{row}\nagent,3,loss,1\n"
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(UserError, match="metrics.csv has a row that is not phase,step,name,value"):
        MetricsLog(tmp_path, Kept({"agent": 9}, {}))
    assert (tmp_path / "metrics.csv").read_text() == content


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="can not write .*taken"):
        MetricsLog(tmp_path / "taken")
