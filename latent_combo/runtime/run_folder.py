"""Where things are in a run's folder: for those who write them, and for those who read them without what that takes."""

from pathlib import Path

from combo_common.bounded_json import read_json
from combo_common.errors import UserError
from combo_common.lock import Lock
from combo_common.paths import leads_out

SETTINGS = "config.yaml"
WORLD_MODEL = "checkpoints/world_model"
AGENT = "checkpoints/agent"
"""How the paths begin of the phases' checkpoints, before their steps."""
LOCK = ".lock"
"""Who writes there at the moment: trains, or draws."""
DATASET = "dataset.json"
"""What the data are known by."""
METRICS = "metrics.csv"
HEADER = ("phase", "step", "name", "value")
"""Its columns."""
TENSORBOARD = "tensorboard"
"""The folder of the events."""
REPORT = "report.html"
"""All of a run on one page."""
BAD_BATCH = "bad_batch.safetensors"
"""What a step was given whose loss or gradients were not finite."""
CLIPS, PICTURES = "videos", "views"
"""The folders of what is drawn."""


def config_file(run: Path) -> Path:
    """Where a run's settings are. Raises UserError where the folder is none, or no run's."""
    if not run.is_dir():
        raise UserError(f"{run} is not a folder; name that of a run")
    path = run / SETTINGS
    if not path.is_file():
        inside = sorted(settings.parent for settings in run.glob(f"*/{SETTINGS}"))
        remedy = f"name a run in it, such as {inside[0]}" if inside else "name the folder that training wrote"
        raise UserError(f"{run} is not a run: it has no {SETTINGS}; {remedy}")
    if leads_out(run, path):  # a report, which is sent to others, has all of it
        raise UserError(f"{path} is a link that leads out of the run's folder; put the file itself there")
    return path


def lock_of(run: Path) -> Lock:
    """The lock of all that writes into a run's folder; it makes the folder where there is none."""
    return Lock(run / LOCK, str(run))


def require_own_folders(run: Path) -> None:
    """Raise UserError where a folder into which a run is drawn leads out of it: files there would be replaced."""
    for name in (CLIPS, PICTURES, TENSORBOARD):
        if leads_out(run, run / name):
            raise UserError(f"{run / name} is a link that leads out of the run's folder; remove it")


def read_fingerprint(run: Path) -> str | None:
    """What a run's data are known by; None where it does not say. Raises UserError for a file that is damaged."""
    path = run / DATASET
    try:
        told = read_json(path)["fingerprint"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise UserError(f"{path} can not be read ({error}); restore it, or remove it to go on unchecked") from error
    return str(told)
