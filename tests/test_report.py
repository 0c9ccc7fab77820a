"""The page that one would send to a colleague."""

import html
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_lock import other
from test_resumed_runs import files
from toy_results import a_result

from combo_common.errors import UserError
from combo_common.versions import versions
from latent_combo import report, visualise
from latent_combo.config.saved import unreadable
from latent_combo.diagnostics.curves import Panels
from latent_combo.diagnostics.episodes import draw_episodes, named
from latent_combo.diagnostics.page import VIEWS, find_views, write_report
from latent_combo.diagnostics.style import to_frame
from latent_combo.pipeline.load_run import load_run
from latent_combo.runtime.run_folder import LOCK, REPORT


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run that a test may spoil."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def curves(run: Path) -> Panels:
    """Its learning curves as they were drawn, which takes a second, for pages of which they are no matter."""
    return [np.asarray(Image.open(run / "curves.png"))]


def test_a_finished_run_has_everything_on_its_page(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    page = write_report(run)
    assert f"{result['return_mean']:.1f}" in page and 'class="notice"' not in page
    for views in VIEWS.values():
        for view in views:
            assert html.escape(view.title, quote=True).replace("&#x27;", "&#39;") in page
    assert page.count("data:video/mp4") == 4 and page.count("data:image/png") == 14
    assert "http://" not in page and "https://" not in page
    assert "kl_weight: 0.01" in page


def test_what_is_missing_is_named_with_the_command_that_makes_it(run: Path) -> None:
    (run / "result.json").unlink()
    (run / "views" / "probes.png").unlink()
    shutil.rmtree(run / "videos")
    page = write_report(run, curves(run))
    assert f"python -m latent_combo.train --resume {run}" in page
    assert f"python -m latent_combo.visualise {run}" in page
    _, missing = find_views(run, states=False)
    assert len(missing) == 5 and all(title.replace("'", "&#39;") in page for title in missing)


def test_another_version_is_said(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    result["versions"]["latent-combo"] = "9.9.9"
    del result["pretrained_world_model"]
    result["fitted"] = "runs/first"  # its name of before
    (run / "result.json").write_text(json.dumps(result))
    page = write_report(run, curves(run))
    assert "on the world model of runs/first" in page
    assert f"made with latent-combo 9.9.9; this page with {versions()['latent-combo']}" in page
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config + "\nnew_setting: 3\n")
    page = write_report(run, curves(run), unreadable(run))
    assert "not of this version of the program" in page and "new_setting" in page


def test_what_a_config_says_is_text(run: Path) -> None:
    with open(run / "config.yaml", "a") as file:
        file.write("# <script>alert(1)</script>\n")
    assert "<script>" not in write_report(run, curves(run))


def test_what_can_not_be_read_is_left_out_and_named(run: Path, blank_figures: None) -> None:
    for content, said in (("{", "result.json can not be read"), ("[]", "holds no result"), ("{}", "lacks task, obs")):
        (run / "result.json").write_text(content)
        page = write_report(run)
        assert said in page and f"--resume {run}" in page and "learning curves" in page
    with open(run / "metrics.csv", "a") as file:
        file.write("agent,9,half")  # cut short, as by a full disk: no harm
    assert "learning curves" in write_report(run)
    with open(run / "metrics.csv", "a") as file:
        file.write(" of a row\n")
    lines = len((run / "metrics.csv").read_text().splitlines())
    assert f"line {lines} is not phase,step,name,value; remove that line" in write_report(run)
    (run / "metrics.csv").unlink()
    assert "no metrics.csv" in write_report(run)


def test_how_far_an_unfinished_run_got(run: Path) -> None:
    (run / "result.json").unlink()
    assert "Its log is at step 6 of the world model, update 8 of the agent." in write_report(run, curves(run))


def test_folders_that_are_no_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run"):
        write_report(tmp_path)
    with pytest.raises(UserError, match="nowhere is not a folder"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    assert "is not a YAML file of settings" in write_report(tmp_path)


def test_no_failure_hides_in_a_mean() -> None:
    (axes,) = draw_episodes(a_result()).axes
    for agent, points in zip(a_result().agents, axes.collections, strict=True):
        assert np.asarray(points.get_offsets())[:, 0].tolist() == agent.returns
        heights = np.asarray(points.get_offsets())[:, 1]
        assert len(set(heights)) == len(heights)  # equal returns do not lie on one another
    drawn = {str(line.get_label()): np.asarray(line.get_xdata())[0] for line in axes.lines}
    assert drawn["mean of the dataset"] == 300.0 and drawn["random policy"] == a_result().random_return
    assert [label.get_text() for label in axes.get_yticklabels()] == ["agent 0", "agent 1"]
    assert named(1, "1, beta 0.5, mu policy") == "agent 1\nbeta 0.5\nmu policy"


def test_legends_lie_below_their_axes() -> None:
    figure = draw_episodes(a_result())
    to_frame(figure)  # which lays it out
    (axes,) = figure.axes
    legend = axes.get_legend()
    assert legend is not None and legend.get_window_extent().y1 < axes.get_window_extent().y0
    assert legend.get_window_extent().y0 >= 0.0  # and within the picture


def test_a_page_is_for_phones_too(run: Path) -> None:
    page = write_report(run, curves(run))
    assert 'name="viewport"' in page and "@media (max-width: 600px)" in page
    assert page.index("An episode of the first agent") < page.index("Its worst episode")
    result = json.loads((run / "result.json").read_text())
    for name in ("dataset", "random", "expert"):
        assert f">{result[f'{name}_normalised_score']:.1f}</td>" in page


def test_nothing_is_drawn_into_a_run_that_trains_which_others_read_meanwhile(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[bool] = []
    monkeypatch.setattr(visualise, "draw", lambda folder, task, seed: drawn.append((folder / LOCK).exists()))
    monkeypatch.setattr(sys, "argv", ["visualise", str(run)])
    process = other(run / LOCK)
    try:
        before = files(run)
        with pytest.raises(UserError, match=rf"^{run} is in use by process {process.pid} on .*; wait for it, or end"):
            visualise.main()
        assert files(run) == before and not drawn
        assert load_run(run).agent_step == 8  # as `evaluate` and `export` read it
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(sys, "argv", ["report", str(run), "--out", str(run.parent / REPORT)])
            report.main()
    finally:
        process.kill()
        process.wait()
    visualise.main()
    assert drawn == [True] and not (run / LOCK).exists()
