"""A dataset's figures for people: as text, and as pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from combo_common.figures import figure
from combo_common.files import write_atomically
from combo_common.symbols import plus_minus
from data.formats.registry import format_named
from data.inspection import Report, Sampled
from envs.registry import told_task

BAR = 40
"""Characters of the histogram's longest bar."""


def format_report(report: Report) -> str:
    """Write the report for reading, with a histogram of the returns."""
    about = report.manifest
    lines = [
        f"{about['task']} {about['split'] or '(split unknown)'} ({_kind(about, report.layout)})",
        f"episodes     {report.episodes}, {report.terminals} of them ended by the task",
        f"transitions  {report.transitions}, {report.length_min} to {report.length_max} an episode",
        f"return       {report.return_mean:.1f} {plus_minus()} {report.return_std:.1f}",
        f"  quantiles  {_row(report.return_quantiles, 1)}",
        *([] if report.success_rate is None else [f"success      {report.success_rate:.1%} of the episodes"]),
        f"references   random {figure(about['random_return'])}, expert {figure(about['expert_return'])}",
        *([] if report.normalised_mean is None else [_score(report)]),
        f"reward       {report.reward_min:.3f} to {report.reward_max:.3f}, zero in {report.reward_zero_fraction:.1%}",
        f"action mean  {_row(report.action_mean)}",
        f"action std   {_row(report.action_std)}",
        f"at a bound   {_row(report.action_at_bound)}",
        f"covered      {_row(report.action_coverage)} of [-1, 1]",
        "returns",
    ]
    most = max(report.histogram_counts)
    for count, low, high in zip(
        report.histogram_counts, report.histogram_edges[:-1], report.histogram_edges[1:], strict=True
    ):
        lines.append(f"  {low:8.1f} to {high:8.1f}  {'#' * round(BAR * count / most):<{BAR}} {count}")
    lines.append("oddities     " + ("none" if not report.oddities else ""))
    lines += [f"  {odd}" for odd in report.oddities]
    return "\n".join(printable(line).rstrip() for line in lines)


def printable(line: str) -> str:
    """A line as a terminal may show it: what a dataset's names hold of other characters is written out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _score(report: Report) -> str:
    """The score of the mean return, and whose references it is by: a run has the same."""
    task = told_task(str(report.manifest["task"]), "the dataset")
    by = f"by the references of its runs, {figure(task.random_return)} and {figure(task.expert_return)}"
    return f"score        {report.normalised_mean:.1f}, of the mean return, {by}"


def _kind(about: dict[str, Any], layout: str) -> str:
    """What the episodes hold."""
    if "image_size" not in about:
        return format_named(layout).title
    drawn = f"{about['image_size']} pixels, {about['look']} look" if about["image_size"] else "recording, no images"
    return f"{drawn}; action repeat {about['action_repeat']}, camera {about['camera']}"


def _row(values: Sequence[float], digits: int = 2) -> str:
    return " ".join(f"{value:.{digits}f}" for value in values)


def write_pictures(folder: Path, report: Report, sampled: Sampled) -> list[Path]:
    """Write PNGs of the returns, the actions and, where there are images or physics to draw, some frames."""
    # Imported here: figures need matplotlib, and frames of a recording a simulator, which counting does without.
    from data.pictures import draw_actions, draw_frames, draw_returns
    from data.simulate.rendering import images_of

    about = report.manifest
    of = f"{about['task']} {about['split']}".strip()
    known = {of: about[f"{of}_return"] for of in ("random", "expert") if about[f"{of}_return"] is not None}
    marks = {"mean": report.return_mean, **known}
    drawn = {
        "returns": draw_returns(
            f"{of}: {report.episodes} episodes", report.histogram_counts, report.histogram_edges, marks
        ),
        "actions": draw_actions(f"{of}: actions of {report.transitions} steps", report.action_histogram),
    }
    frames = [(f"episode {caption}", images_of(episode, about["task"])) for caption, episode in sampled.chosen()]
    if rows := [(caption, images) for caption, images in frames if images is not None]:
        drawn["frames"] = draw_frames(rows)
    paths = []
    for name, content in drawn.items():
        write_atomically(folder / f"{name}.png", content)
        paths.append(folder / f"{name}.png")
    return paths
