"""A run that a stranger sends: its pictures, words and links neither run in a page nor lead out of its folder."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from combo_common.errors import UserError
from latent_combo.config import options
from latent_combo.diagnostics import curves
from latent_combo.diagnostics.curves import draw_curves, read_series
from latent_combo.diagnostics.own_views import words_of
from latent_combo.diagnostics.page import find_views, write_report
from latent_combo.evaluation.result import Result

SCRIPT = "<script>alert(1)</script>"
AGENT = {"return_mean": 1.0, "return_std": 0.0, "normalised_score": None, "returns": [1.0, 2.0]}
RESULT: dict[str, Any] = {
    **{"task": "hopper", "obs": "state", "dataset": "d", "algorithm": "combo", "preset": "quickstart", "seed": 0},
    **{"episodes": 2, "return_mean": 1.0, "return_std": 1.0, "normalised_score": None, "dataset_return_mean": 1.0},
    **{"random_return": None, "expert_return": None, "dataset_normalised_score": None, "versions": {}, "seconds": {}},
    "agents": [AGENT],
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    for name in ("views", "videos"):
        (folder / name).mkdir(parents=True)
    (folder / "config.yaml").write_text("obs: state\n")
    (folder / "metrics.csv").write_text("phase,step,name,value\nagent,1,score/0,1.0\n")
    (folder / "result.json").write_text(json.dumps(RESULT))
    return folder


def test_nothing_that_a_run_says_is_run_in_its_page(run: Path) -> None:
    hostile = dict.fromkeys(("task", "dataset", "algorithm", "preset", "pretrained_world_model"), SCRIPT)
    hostile |= {"versions": {SCRIPT: SCRIPT}, "seconds": {SCRIPT: 1.0}, "failed": [SCRIPT]}
    hostile["agents"] = [{**AGENT, "label": f"{SCRIPT} $x$ $\\frac{{1 }}"}, {**AGENT, "label": "$^"}]
    (run / "result.json").write_text(json.dumps({**RESULT, **hostile}))
    (run / "config.yaml").write_text(f"obs: state\ndataset: '{SCRIPT}'\nout: '{SCRIPT}'\n")
    np.savez(run / "views" / "mine.npz", title=np.array(SCRIPT), reading=np.array(SCRIPT))
    (run / "views" / "mine.png").write_bytes(b"\x89PNG")
    result = Result.read(run)
    assert result is not None and result.task == SCRIPT
    page = write_report(run)
    assert "<script" not in page and page.count("&lt;script&gt;") >= 8


def test_nothing_outside_of_the_folder_is_in_its_page(run: Path) -> None:
    secret = run.parent / "secret.png"
    secret.write_bytes(b"secret")
    for name in ("horizon.png", "conservatism.png"):
        (run / "views" / name).symlink_to(secret)
    os.mkfifo(run / "views" / "probes.png")  # which whoever opens it waits for
    np.savez(run / "views" / "[x]*.npz", title=np.array("odd"), reading=np.array("it"))
    (run / "views" / "[x]*.png").write_bytes(b"own")
    shown, missing = find_views(run, states=True)
    assert [item.view.title for items in shown.values() for item in items] == ["odd"]
    assert {"How far it predicts", "Conservatism"} <= set(missing)
    (run / "config.yaml").unlink()
    (run / "config.yaml").symlink_to(secret)
    with pytest.raises(UserError, match="is a link that leads out of the run's folder"):
        write_report(run)


def test_nothing_is_drawn_outside_of_the_folder(run: Path) -> None:
    (run / "videos").rmdir()
    (run / "videos").symlink_to(run.parent)
    with pytest.raises(UserError, match="videos is a link that leads out of the run's folder; remove it"):
        options.visualise([str(run)])


def test_words_of_a_view_that_unpack_to_much_are_left_out(run: Path) -> None:
    np.savez_compressed(run / "views" / "big.npz", title=np.array("a" * 5_000_000), reading=np.array("it"))
    np.savez_compressed(run / "views" / "odd.npz", title=np.array([object()], dtype=object), reading=np.array("it"))
    assert (run / "views" / "big.npz").stat().st_size < 100_000
    assert words_of(run / "views") == {}


@pytest.mark.parametrize(
    "row",
    [
        "agent,1,score/x,1.0",
        f"agent,{'9' * 5000},q,1.0",
        f"agent,{10**30},q,1.0",
        "agent,-1,q,1.0",
        f"agent,1,{'q' * 200_000},1.0",
        f"agent,1,{'q' * 300},1.0",
        "agent,1,\udcff,1.0",
        "agent,1,q",
    ],
)
def test_a_log_that_can_not_be_right_is_refused_in_a_line(row: str, run: Path) -> None:
    (run / "metrics.csv").write_bytes(f"phase,step,name,value\n{row}\n".encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"metrics.csv, line \d+ is not phase,step,name,value; remove that line"):
        read_series(run / "metrics.csv")


def test_odd_names_in_a_log_are_not_drawn(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = ["open_loop,1,open_loop_psnr_x,1", "open_loop,1,open_loop_psnr_,1", "open_loop,1,open_loop_psnr_²,1"]
    (run / "metrics.csv").write_text("\n".join(["phase,step,name,value", *rows, ""]))
    monkeypatch.setattr(curves, "_panel", lambda draw: draw(curves.new_figure(2, 2).subplots()))
    assert len(draw_curves(run)) == 6


@pytest.mark.parametrize("agents", [[AGENT] * 2000, [{**AGENT, "label": "x" * 5000}]])
def test_agents_that_no_picture_holds_are_refused(agents: list[dict[str, Any]], run: Path) -> None:
    (run / "result.json").write_text(json.dumps({**RESULT, "agents": agents}))
    with pytest.raises(UserError, match=r"result.json is of .* (lists 2000 agents|a label of more)"):
        Result.read(run)
