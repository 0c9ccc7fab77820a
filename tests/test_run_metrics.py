"""The log of a run: what is written, and what a resumed run keeps."""

import csv
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from combo_common.errors import UserError
from latent_combo.runtime.metrics import MetricsLog
from latent_combo.runtime.run_folder import HEADER


def rows(folder: Path) -> list[tuple[str, ...]]:
    with open(folder / "metrics.csv", newline="") as file:
        return [tuple(row) for row in csv.reader(file)]


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"))
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
    resumed = MetricsLog(tmp_path, {"world_model": 30, "agent": 10})
    resumed.write("agent", 20, {"loss": -1.0})
    resumed.close()
    assert [row[:2] for row in rows(tmp_path)[1:]] == [
        *(("world_model", "10"), ("world_model", "20"), ("world_model", "30"), ("agent", "10")),
        *(("score", "10"), ("score", "20"), ("score", "30"), ("agent", "20")),
    ]
    assert rows(tmp_path)[-1] == ("agent", "20", "loss", "-1")


def test_a_row_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("phase,step,name,value\nagent,1,loss,2\nagent,2,loss,0.0")
    MetricsLog(tmp_path, {"agent": 9}).close()
    assert rows(tmp_path) == [HEADER, ("agent", "1", "loss", "2")]


@pytest.mark.parametrize("row", ["agent,soon,loss,1", "agent,2,loss", "agent,2,loss,1,1"])
def test_an_unsound_log_is_refused_and_left_alone(tmp_path: Path, row: str) -> None:
    content = f"phase,step,name,value\n{row}\nagent,3,loss,1\n"
    (tmp_path / "metrics.csv").write_text(content)
    with pytest.raises(UserError, match="metrics.csv has a row that is not phase,step,name,value"):
        MetricsLog(tmp_path, {"agent": 9})
    assert (tmp_path / "metrics.csv").read_text() == content


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match="can not write .*taken"):
        MetricsLog(tmp_path / "taken")
