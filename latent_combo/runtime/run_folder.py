"""Where things are in a run's folder: for those who write them, and for those who read them without what that takes."""

from pathlib import Path

from combo_common.errors import UserError

SETTINGS = "config.yaml"
WORLD_MODEL = "checkpoints/world_model.pt"
AGENT = "checkpoints/agent.pt"
METRICS = "metrics.csv"
HEADER = ("phase", "step", "name", "value")
"""Its columns."""
TENSORBOARD = "tensorboard"
"""The folder of the events."""
REPORT = "report.html"
"""All of a run on one page."""
CLIPS, PICTURES = "videos", "views"
"""The folders of what is drawn."""


def config_file(run: Path) -> Path:
    """Where a run's settings are. Raises UserError where the folder is none, or no run's."""
    if not run.is_dir():
        raise UserError(f"{run} is not a folder; name that of a run")
    path = run / SETTINGS
    if not path.is_file():
        raise UserError(f"{run} is not a run: it has no {SETTINGS}")
    return path
