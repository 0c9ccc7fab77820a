"""`python -m benchmarks.rendering`: how fast recordings are drawn, and what memory that takes.

Random episodes of the walker (64 pixels) and before the door (128) are drawn by one process and by one a core, in the
fast look. Memory is the most that all processes together held (PSS, so shared pages count once), with few episodes and
with twice as many: it should not grow with their number.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path

from data.formats.manifest import describe
from data.formats.native import Dataset, write_dataset
from data.simulate.rendering import render_dataset, render_episodes
from data.simulate.rollout import PolicySpec, played_episodes
from data.simulate.workers import default_processes
from envs.registry import get_task

TASKS = (("walker-walk", 64, 8), ("sawyer-door", 128, 16))
"""Task, pixels, episodes."""


def family_memory() -> int:
    """MiB of this process and its children, pages that they share counted once."""
    me, total = str(threading.get_native_id()), 0
    folder = Path("/proc/self/task") / me / "children"
    for process in ["self", *folder.read_text().split()]:
        try:
            rollup = Path(f"/proc/{process}/smaps_rollup").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total // 1024


def timed(recording: Dataset, size: int, processes: int) -> tuple[float, float, int]:
    """Frames a second in all, the same from the first episode on (processes started), and peak memory in MiB."""
    frames = recording.manifest.transitions + recording.manifest.episodes
    started, first, peak = time.perf_counter(), 0.0, 0
    drawn = render_episodes(recording, size, "fast", progress=False, processes=processes)
    for number, _ in enumerate(drawn):
        if number == processes - 1:
            first = time.perf_counter()
        peak = max(peak, family_memory())
    done = time.perf_counter()
    later = frames - processes * frames // recording.manifest.episodes
    return frames / (done - started), later / (done - first), peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1, help="a multiple of the usual number")
    given = parser.parse_args()
    cores = default_processes()
    with tempfile.TemporaryDirectory() as folder:
        for name, size, usual in TASKS:
            task = get_task(name)
            for times in (1, 2):
                path = Path(folder) / f"{name}-{times}"
                count = usual * given.episodes * times
                played = played_episodes(task, PolicySpec(), count, seed=0)
                write_dataset(path, played, describe(task, "random", 0, {}), progress=False)
                for processes in sorted({1, cores}):
                    whole, later, peak = timed(Dataset(path), size, processes)
                    print(
                        f"{name:12} {size:3} pixels, {count:4} episodes, {processes} processes: {later:6.0f} frames/s "
                        f"({whole:.0f} with their start), {peak} MiB at most",
                        flush=True,
                    )
            started = time.perf_counter()
            made = render_dataset(path, path.with_name(f"{name}-pixels"), size, "fast", progress=False)
            rate = (made.transitions + made.episodes) / (time.perf_counter() - started)
            print(f"{name:12} {size:3} pixels, data.render, written as npz: {rate:.0f} frames/s")


if __name__ == "__main__":
    main()
