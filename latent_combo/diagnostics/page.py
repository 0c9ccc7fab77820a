"""A run on one self-contained HTML page, to be sent to a colleague."""

import base64
import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TypeVar

import jinja2
from matplotlib.figure import Figure

from combo_common.errors import UserError
from combo_common.paths import leads_out
from combo_common.versions import versions
from latent_combo.agent.selection import RULE
from latent_combo.diagnostics.curves import Panels, draw_curves, has_model, read_series
from latent_combo.diagnostics.episodes import draw_episodes
from latent_combo.diagnostics.own_views import words_of
from latent_combo.diagnostics.style import Frame, to_png
from latent_combo.evaluation.result import RESULT, Result
from latent_combo.runtime.run_command import run_command
from latent_combo.runtime.run_folder import CLIPS, METRICS, PICTURES, config_file
from latent_combo.runtime.settings_file import read_settings

TEMPLATE = "report.html.jinja"
PHASES = ("world_model", "agent")
MOST_INLINED = 1 << 26
"""Bytes of a picture or clip."""
MOST_SETTINGS = 1 << 20
"""Letters of the settings that are shown."""
T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """A picture or a clip, and how to read it."""

    file: str
    """Below the run's folder; may be a pattern."""
    title: str
    reading: str
    of_states: str | None = None
    """The file of a run of states, where it is another; empty where such a run has none."""


POLICY = "The policy"
"""The section of what the policy was seen to do."""
VALUES = "What the critic values"
"""The section of what an agent expects."""
VIEWS = {
    POLICY: (
        View(
            f"{CLIPS}/policy.mp4",
            "An episode of the first agent",
            "The one of median return of those that were played, which is written into it.",
        ),
        View(
            f"{CLIPS}/worst.mp4",
            "Its worst episode",
            "The one of least return: how the policy fails, if it does.",
        ),
    ),
    "What the model predicts": (
        View(
            f"{CLIPS}/held_out_*.mp4",
            "Episodes that the model never trained on",
            "Open loop turns from green to vermilion where the model stops looking and follows the recorded actions "
            "blindly; truth and posterior go on seeing. Open loop is the mean of the members, so that blur is "
            "disagreement; error is its absolute difference from the truth. The band of the predicted reward goes from "
            "the members' least to their greatest.",
        ),
        View(
            f"{PICTURES}/horizon.png",
            "How far it predicts",
            "Its predictions end where the model's curve meets that of the mean observation, or of the mean "
            "reward. Copying is hard to beat one step ahead. Errors of images are their PSNR; those of states are "
            "in units of each number's standard deviation. The KL is in nats, from what the filter says once it has "
            "seen the frame to what a member said before.",
        ),
        View(
            f"{CLIPS}/dreams.mp4",
            "Each member's dream of one episode",
            "The same state and the same actions. The upper row moves, the others stand at fixed steps; the last "
            "column is the members' standard deviation, where white is the largest of the clip. Of states, the four "
            "numbers that vary most are drawn as lines, one for each member.",
            of_states=f"{PICTURES}/dreams.png",
        ),
        View(
            f"{PICTURES}/counterfactual.png",
            "Other actions from one state",
            "From the measured state with the best recorded future: the recorded actions; those that the policy "
            "chose in the model, carried out blindly in the simulator, too; none; the recorded ones with their signs "
            "changed.",
        ),
    ),
    "What it knows of its errors": (
        View(
            f"{PICTURES}/calibration_*.png",
            "Disagreement against true error, 1 step and 5 steps ahead",
            "Above, the error of the observation, for images with what the decoder can't draw in it; below, that of "
            "the latent, where it is another. The closer the points lie to a rising line, the better the measure "
            "knows the error; at a rank correlation of 0 it says nothing of it. The legend has the correlation of "
            "each kind of actions alone. Max Var is MOPO's measure, the log-likelihoods' deviation is LOMPO's (the "
            "paper's Figure 2).",
        ),
        View(
            f"{PICTURES}/latent_kl.png",
            "What each latent dimension adds",
            "Dark rows add nothing to what was predicted from the step before; were all of them dark, the posterior "
            "would have collapsed.",
            of_states="",
        ),
        View(
            f"{PICTURES}/probes.png",
            "What the features say of the simulator's state",
            "Linear probes, fitted to training episodes and tried on held-out ones: 1 is a perfect reading, 0 and less "
            "none. A distance travelled can't be seen in pictures that follow the body.",
        ),
    ),
    VALUES: (
        View(
            f"{PICTURES}/conservatism.png",
            "Conservatism",
            "Left: uniform actions should be worth least. Middle: below the dashed line the critic promises less than "
            "was achieved, as it should, or has not learnt it yet: see whether the values still rise in the curves; "
            "triangles are of the quarter of the episodes that got least. "
            "Where these lie above it, the critic does not see what makes the policy fail; longer rollouts may show it "
            "(--agent_fit.rollout_length). "
            "Right, where there is a world model: above the line, it promises more than the environment gives.",
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


def find_views(run: Path, states: bool, model: bool = True) -> tuple[dict[str, list[Shown]], list[str]]:
    """Inline what a run has, by section; and list the titles of what it has not.

    Without a `model` it has no view of one.
    """
    found: dict[str, list[Shown]] = {}
    missing = []
    sections = {**VIEWS, "Your own": own_views(run)}
    for section, views in sections.items() if model else ((name, VIEWS[name]) for name in (POLICY, VALUES)):
        for view in views:
            pattern = view.file if view.of_states is None or not states else view.of_states
            if not pattern:
                continue
            files = [file for file in sorted(run.glob(pattern)) if _is_shown(run, file)]
            if files:
                shown = Shown(view, [inline(path) for path in files], pattern.endswith(".mp4"))
                found.setdefault(section, []).append(shown)
            else:
                missing.append(view.title)
    return found, missing


def own_views(run: Path) -> tuple[View, ...]:
    """The views that somebody added to this run, or in this process."""
    added = words_of(run / PICTURES).items()
    return tuple(View(f"{PICTURES}/{glob.escape(name)}.png", title, reading) for name, (title, reading) in added)


def _is_shown(run: Path, file: Path) -> bool:
    """Whether a file goes into the page: none from elsewhere, which would be sent to others."""
    return file.is_file() and not leads_out(run, file) and file.stat().st_size <= MOST_INLINED


def inline(path: Path) -> str:
    """A file as a data URI."""
    return data_uri(path.read_bytes(), "video/mp4" if path.suffix == ".mp4" else "image/png")


def png_uri(picture: Frame | Figure) -> str:
    """A figure, or a picture (H, W, 3) uint8, as a data URI."""
    return data_uri(to_png(picture), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as a data URI of a media type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def reached(run: Path) -> str:
    """How far an unfinished run's log goes."""
    series = read_series(run / METRICS)
    steps = {name: max((s[-1][0] for (phase, _), s in series.items() if phase == name), default=0) for name in PHASES}
    model = f"step {steps['world_model']} of the world model, " if has_model(run) else ""
    return f"{model}update {steps['agent']} of the agent"


def notices(run: Path, result: Result | None, missing: list[str]) -> list[str]:
    """What a reader of the page should know first: another version, an unfinished run, views that are missing."""
    said = []
    made, here = result and result.versions.get("latent-combo"), versions()["latent-combo"]
    if made not in (None, here):
        said.append(f"This run was made with latent-combo {made}; this page with {here}.")
    if not (run / RESULT).exists():
        said.append(f"This run is not finished, and has no score. Go on with: {run_command('train', run)}")
    if result is not None and (unplayed := result.unplayed()):
        said.append(f"Episodes: {unplayed}. Play some with: {run_command('evaluate', run)}")
    if result is not None and not result.episodes:
        missing = [title for title in missing if title not in {view.title for view in VIEWS[POLICY]}]
    if missing:
        listed = "; ".join(missing)
        said.append(f"Not drawn: {listed}. Draw what there is with: {run_command('visualise', run)}")
    return said


def write_report(run: Path, curves: Panels | None = None, known: Sequence[str] = ()) -> str:
    """The page; what can't be read is left out, and said. Raises UserError where the folder is no run.

    `curves` are the learning curves, where they have been drawn already; `known` is what else to say.
    """
    config = config_file(run)
    said = list(known)
    settings = _attempt(lambda _: read_settings(config), run, said)
    result = _attempt(Result.read, run, said)
    curves = curves or _attempt(draw_curves, run, said)
    shown, missing = find_views(run, settings is not None and settings.get("obs") == "state", has_model(run))
    said += notices(run, result, missing)
    if result is None and curves is not None:
        said.append(f"Its log is at {reached(run)}.")
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files("latent_combo.diagnostics").joinpath(TEMPLATE).read_text())
    return template.render(
        run=run.resolve().name,
        result=result,
        rule=RULE,
        notices=said,
        episodes=png_uri(draw_episodes(result)) if result is not None and result.episodes and result.agents else None,
        curves=[png_uri(panel) for panel in curves or []],
        sections=shown,
        config=_settings_text(config),
        without_model=not has_model(run),
    )


def _settings_text(path: Path) -> str:
    with path.open(errors="replace") as file:
        return file.read(MOST_SETTINGS)


def _attempt(read: Callable[[Path], T], run: Path, said: list[str]) -> T | None:
    """What `read` finds in a run's folder, or None, and why in `said`."""
    try:
        return read(run)
    except UserError as error:
        said.append(str(error))
        return None
