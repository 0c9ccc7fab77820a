"""`python -m latent_combo.report RUN`: a run on one self-contained HTML page, to be sent to a colleague."""

import argparse
import base64
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from latent_combo.config import load_config
from latent_combo.curves import draw_curves, read_series
from latent_combo.run.errors import UserError, run_cli
from latent_combo.run.files import write_atomically
from latent_combo.run.gallery import CLIPS, PICTURES
from latent_combo.run.versions import versions

REPORT = "report.html"
TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class View:
    """A picture or a clip, and how to read it."""

    file: str
    """Below the run's folder; may be a pattern."""
    title: str
    reading: str


VIEWS = {
    "The policy": (
        View(f"{CLIPS}/policy.mp4", "The first agent's episode of median return", "Neither its best nor its worst."),
    ),
    "What the model predicts": (
        View(
            f"{CLIPS}/held_out_*.mp4",
            "Episodes that the model never trained on",
            "Green border: it sees the frames. Vermilion: it follows the actions blindly. Where open loop leaves the "
            "truth, look whether the members disagree.",
        ),
        View(
            f"{PICTURES}/horizon.png",
            "How far it predicts",
            "Where the model's curve meets a baseline's, its predictions end.",
        ),
        View(
            f"{CLIPS}/dreams.mp4",
            "Each member's dream of one episode",
            "The same state and the same actions; the last column is their standard deviation.",
        ),
        View(
            f"{PICTURES}/counterfactual.png",
            "Other actions from one state",
            "Each kind of actions: the model's frames, and the simulator's beneath where it could be asked.",
        ),
    ),
    "What it knows of its errors": (
        View(
            f"{PICTURES}/calibration_*.png",
            "Disagreement against true error",
            "On the line, disagreement would tell the error (the paper's Figure 2). Trust a penalty on disagreement as "
            "far as these correlations go.",
        ),
        View(
            f"{PICTURES}/latent_kl.png",
            "Which latent dimensions carry anything",
            "Dark rows carry nothing; a model that has collapsed has no other.",
        ),
        View(
            f"{PICTURES}/probes.png",
            "What the features say of the simulator's state",
            "1 is a perfect linear reading, on held-out episodes; 0 is none.",
        ),
    ),
    "What the critic values": (
        View(
            f"{PICTURES}/conservatism.png",
            "Conservatism",
            "Left: random actions should be worth least. Middle: below the dashed line the critic is conservative. "
            "Right: above it, the model promises more than the environment gives.",
        ),
    ),
}
"""The page's sections. `visualise` and a finished run write all of these."""


@dataclass(frozen=True)
class Shown:
    """A view with its files inlined."""

    view: View
    sources: list[str]
    """Data URIs."""
    video: bool


def find_views(run: Path) -> tuple[dict[str, list[Shown]], list[str]]:
    """Inline what a run has, by section; and list the titles of what it has not."""
    found: dict[str, list[Shown]] = {}
    missing = []
    for section, views in VIEWS.items():
        for view in views:
            files = sorted(run.glob(view.file))
            if files:
                shown = Shown(view, [inline(path) for path in files], view.file.endswith(".mp4"))
                found.setdefault(section, []).append(shown)
            else:
                missing.append(view.title)
    return found, missing


def inline(path: Path) -> str:
    """A file as a data URI."""
    kind = "video/mp4" if path.suffix == ".mp4" else "image/png"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def read_result(run: Path) -> dict[str, Any] | None:
    """A finished run's `result.json`; None before its end. Raises UserError for a file that is none."""
    path = run / "result.json"
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text())
        return dict(result)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is not readable ({error}); score the run again with latent_combo.evaluate") from error


def notices(run: Path, result: dict[str, Any] | None, missing: list[str]) -> list[str]:
    """What a reader of the page should know first: another version, an unfinished run, views that are missing."""
    said = []
    try:
        load_config(run)
    except UserError as error:
        said.append(str(error))
    made, here = (result or {}).get("versions", {}).get("latent-combo"), versions()["latent-combo"]
    if made not in (None, here):
        said.append(f"This run was made with latent-combo {made}; this page with {here}.")
    if result is None:
        said.append(
            f"This run is not finished: there is no score yet. Go on with: {_command('train', '--resume', run)}"
        )
    if missing:
        listed = "; ".join(missing)
        said.append(f"Not drawn yet: {listed}. Draw what there is with: {_command('visualise', run)}")
    return said


def _command(name: str, *arguments: object) -> str:
    return " ".join(["python -m", f"latent_combo.{name}", *map(str, arguments)])


def write_report(run: Path) -> str:
    """The page. Raises UserError where the folder is no run."""
    if not (run / "config.yaml").exists():
        raise UserError(f"{run} is not a run: it has no config.yaml")
    result = read_result(run)
    found, missing = find_views(run)
    curves = draw_curves(run) if read_series(run / "metrics.csv") else None
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files("latent_combo").joinpath(TEMPLATE).read_text())
    return template.render(
        run=run.resolve().name,
        result=result,
        notices=notices(run, result, missing),
        curves=None if curves is None else f"data:image/png;base64,{base64.b64encode(curves).decode()}",
        sections=found,
        config=(run / "config.yaml").read_text(),
    )


def main() -> None:
    """Read the command line and write the page."""
    parser = argparse.ArgumentParser(prog="python -m latent_combo.report", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder")
    parser.add_argument("--out", type=Path, help=f"the page (default: {REPORT} in the run's folder)")
    given = parser.parse_args()
    page = write_report(given.run)
    out = given.out or given.run / REPORT
    write_atomically(out, page.encode())
    print(f"{out}: {len(page) / 1e6:.1f} MB, needs no other file and no network")


if __name__ == "__main__":
    run_cli(main)
