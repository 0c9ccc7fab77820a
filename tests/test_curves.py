from pathlib import Path

import pytest
from PIL import Image
from toy_results import a_result

from combo_common.errors import UserError
from latent_combo.diagnostics.curves import _model_loss, _open_loop, _returns, draw_curves, joined, read_series
from latent_combo.diagnostics.style import new_figure
from latent_combo.runtime.renamed import METRICS
from latent_combo.runtime.run_folder import HEADER


def write(run: Path, *rows: tuple[str, int, str, float]) -> None:
    lines = [",".join(HEADER), *(",".join(map(str, row)) for row in rows)]
    (run / "metrics.csv").write_text("\n".join(lines) + "\n")


def test_series_are_read_by_phase_and_name(tmp_path: Path) -> None:
    write(tmp_path, ("agent", 2, "q_data/0", 1.5), ("agent", 4, "q_data/0", 2.0), ("agent", 2, "q_data/1", 7.0))
    series = read_series(tmp_path / "metrics.csv")
    assert series["agent", "q_data/0"] == [(2, 1.5), (4, 2.0)]
    assert series["agent", "q_data/1"] == [(2, 7.0)]


def test_metrics_of_before_are_read_by_their_names_of_now(tmp_path: Path) -> None:
    names = [*(f"{name}/0" for name in METRICS), "held_out_loss", "held_out_q/1", "q_data/0"]
    write(tmp_path, *(("agent", 2, name, 1.5) for name in names))
    now = [*(f"{name}/0" for name in METRICS.values()), "validation_loss", "validation_q/1", "q_data/0"]
    assert [name for _, name in read_series(tmp_path / "metrics.csv")] == now


@pytest.mark.parametrize("whole", [False, True])
def test_a_run_is_drawn_as_far_as_it_is(whole: bool, tmp_path: Path) -> None:
    rows: list[tuple[str, int, str, float]] = [("world_model", 1, "loss", 9.0), ("world_model", 2, "loss", 4.0)]
    if whole:
        rows += [("agent", step, f"{name}/{i}", 1.0) for step in (1, 2) for name in ("score", "q_data") for i in (0, 1)]
        a_result().write(tmp_path)
    write(tmp_path, *rows)
    (tmp_path / "curves.png").write_bytes(joined(draw_curves(tmp_path)))
    picture = Image.open(tmp_path / "curves.png")
    assert picture.size == (540, 6 * 480)
    assert len(picture.convert("RGB").getcolors(maxcolors=100_000) or []) > 10


def test_a_folder_without_metrics_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no metrics\.csv"):
        draw_curves(tmp_path)


def test_an_empty_panel_says_why() -> None:
    axes = new_figure(2.0, 2.0).subplots(1, 3)
    _model_loss(axes[0], {})
    _model_loss(axes[1], {("agent", "q_data"): [(1, 2.0)]})
    _returns(axes[2], {}, a_result())
    said = [one.texts[0].get_text() for one in axes]
    assert said == ["nothing logged yet", "fitted in another run", "no interim evaluations"]


@pytest.mark.parametrize(
    ("names", "label", "values"),
    [
        (("open_loop_psnr_1",), "PSNR, dB (higher is better)", [2.0]),  # older runs of states, too
        (("open_loop_nrmse_1",), "normalised RMSE (lower is better)", [2.0]),
        (("open_loop_psnr_5", "open_loop_nrmse_1"), "normalised RMSE (lower is better)", [2.0]),
    ],
)
def test_the_error_of_predictions_is_named(names: tuple[str, ...], label: str, values: list[float]) -> None:
    axes = new_figure(2.0, 2.0).subplots()
    _open_loop(axes, {("open_loop", name): [(1, 1.0), (2, 2.0)] for name in names})
    assert axes.get_ylabel() == label
    assert [line.get_ydata().tolist() for line in axes.lines] == [values]
