"""V-D4RL's published folders, below the data folder: TASK/SPLIT/SIZE, such as cheetah_run/medium/64px.

Its archive has them in `main`, which lies in `vd4rl` where the repository was cloned, and in `vd4rl_data` in its
instructions (Lu et al., 2023; github.com/conglu1997/v-d4rl). 64px holds npz episodes, 84px HDF5 shards.
"""

from pathlib import Path

TASKS = ("walker_walk", "cheetah_run", "humanoid_walk")
SPLITS = ("random", "medium_replay", "medium", "medium_expert", "expert")
SIZES = ("64px", "84px")
"""The first one that is there is what a name without a size means."""
ROOTS = ("", "main", "vd4rl/main", "vd4rl_data/main")
"""Where the folders of tasks may lie below the data folder."""


def vd4rl_folders(data_dir: Path) -> dict[str, Path]:
    """The folders that are there, by their plain names: cheetah-run-medium-64px, and without size."""
    found: dict[str, Path] = {}
    for root in ROOTS:
        for task in (task for task in TASKS if (data_dir / root / task).is_dir()):
            for published in (f"{task}/{split}/{size}" for split in SPLITS for size in SIZES):
                if (folder := data_dir / root / published).is_dir():
                    sized = _plain(published)
                    for name in (sized, sized.rpartition("-")[0]):
                        found.setdefault(name, folder)
    return found


def published_folder(name: str) -> str | None:
    """The folder that a name means, such as cheetah_run/medium/64px of cheetah-run-medium; None for another name."""
    for published in (f"{task}/{split}/{size}" for task in TASKS for split in SPLITS for size in SIZES):
        sized = _plain(published)
        if _plain(name) in (sized, sized.rpartition("-")[0]):
            return published
    return None


def _plain(name: str) -> str:
    return name.replace("_", "-").replace("/", "-")
