"""Long runs neither grow nor leak: resident memory, descriptors and threads after 20,000 updates and 200 views."""

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_runs import record, short_episodes, toy

from latent_combo.agent.fit import AgentFit
from latent_combo.train import train

UPDATES, VIEWS = 20_000, 200
SETTLED = 4_000
"""Updates after which all that a run keeps is there: caches, pools, the first views."""


def resident() -> int:
    """Bytes of this process that are in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.soak
def test_20000_updates_and_200_views_keep_memory_and_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    record(tmp_path)
    seen: dict[int, tuple[int, int]] = {}
    step = AgentFit.take_step

    def watched(self: AgentFit, report: bool = True) -> object:
        metrics = step(self, report)
        if self.step % 2_000 == 0:
            seen[self.step] = resident(), open_files()
            print(f"{self.step} updates: {seen[self.step][0] / 1e6:.1f} MB, {seen[self.step][1]} files", flush=True)
        return metrics

    monkeypatch.setattr(AgentFit, "take_step", watched)
    often = ["--agent_fit.updates", str(UPDATES), "--views.every", str(UPDATES // VIEWS), "--log_every", "100"]
    with short_episodes():
        train(toy(tmp_path, tmp_path / "run", *often, "--save_every", "2000", "--agent_fit.evaluations", "0"))
    (first, files), (last, files_at_last) = seen[SETTLED], seen[UPDATES]
    assert last < 1.01 * first, seen
    assert files_at_last <= files + 1, seen
    figures = {"updates": UPDATES, "views": VIEWS, "before_mb": first / 1e6, "after_mb": last / 1e6}
    for name, value in (figures | {"files_before": files, "files_after": files_at_last}).items():
        record_property(name, value)
