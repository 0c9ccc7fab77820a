"""Folders of killed commands: swept where their process is gone, continued where rendering was killed."""

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from combo_common.errors import StoppedError, UserError
from combo_common.files import sweep_files
from combo_common.process_marks import is_alive, own_mark
from combo_common.staging import staged_folder, sweep
from data.episode import Episode
from data.formats.manifest import describe
from data.formats.native import Dataset, write_dataset
from data.simulate import rendering
from data.simulate.rendering import render_dataset
from data.simulate.rollout import PolicySpec, played_episodes
from envs.registry import get_task
from tests.same_episodes import assert_same

TASK = get_task("cartpole-balance")
SIZE = 16


@pytest.fixture
def dead() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def living() -> Iterator[int]:
    """The number of a process that lives as long as the test."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.communicate()


def _left(parent: Path, name: str, process: int) -> Path:
    folder = parent / f"{name}.partial-{process}"
    folder.mkdir()
    (folder / "half").write_text("half")
    return folder


def test_what_a_dead_process_left_is_swept_and_what_a_living_one_writes_is_not(
    tmp_path: Path, dead: int, living: int
) -> None:
    gone, kept, other = _left(tmp_path, "a", dead), _left(tmp_path, "a", living), _left(tmp_path, "b", dead)
    strange = _left(tmp_path, "a", 10**30)
    with staged_folder(tmp_path / "a") as partial:
        assert not gone.exists() and kept.exists() and strange.exists() and other.exists()
        assert list(partial.iterdir()) == []
        sweep(tmp_path)  # this one's is not swept, either
        assert partial.exists() and kept.exists() and not other.exists()
    assert (tmp_path / "a").is_dir() and kept.exists()


def test_a_folder_whose_writer_holds_its_lock_stays_whatever_its_number(tmp_path: Path, dead: int) -> None:
    with staged_folder(tmp_path / "a") as partial:
        elsewhere = partial.rename(tmp_path / f"a.partial-{dead}")  # as the numbers of another container look here
        sweep(tmp_path)
        assert elsewhere.exists()
        elsewhere.rename(partial)


def test_where_folders_have_no_locks_another_machines_stays_while_it_is_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of NFS: that it can be locked here says nothing."""

    def refuses(*given: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", refuses)
    pid, start, host = own_mark().split("-")
    mine, elsewhere = (tmp_path / f"a.partial-{pid}1-{start}-{machine}" for machine in (host, "000000"))
    for folder in (mine, elsewhere):
        folder.mkdir()
        (folder / "half").touch()
        os.utime(folder, (0, 0))  # a file that grows does not touch its folder
    sweep(tmp_path)
    assert elsewhere.exists() and not mine.exists()
    os.utime(elsewhere / "half", (0, 0))
    with staged_folder(tmp_path / "b") as partial:
        sweep(tmp_path)
        assert partial.exists() and not elsewhere.exists()


def test_what_a_namesake_of_this_process_left_is_swept(tmp_path: Path) -> None:
    left = _left(tmp_path, "a", os.getpid())
    with staged_folder(tmp_path / "a") as partial:
        assert not left.exists() and list(partial.iterdir()) == []


def test_what_is_left_of_a_number_that_another_process_has_by_now_is_swept(tmp_path: Path, living: int) -> None:
    pid, start, host = own_mark().split("-")
    begun = int(Path(f"/proc/{living}/stat").read_text().rpartition(")")[2].split()[19])
    assert is_alive(own_mark()) and is_alive(f"{living}-{begun}-{host}") and not is_alive(f"{living}-{start}-{host}")
    for folder in (tmp_path, tmp_path / "below"):
        folder.mkdir(exist_ok=True)
        for mark in (f"{living}-{begun}", f"{living}-{start}", f"{pid}-{start}"):
            (folder / f"a.json.{mark}-{host}.tmp").touch()
            (folder / f"a.{mark}-{host}.tmp.mp4").touch()
            (folder / f"b.{mark}-{host}.tmp").mkdir()
            (folder / f"b.{mark}-{host}.tmp" / "b.mp4").touch()
            (folder / f"a.partial-{mark}-{host}").mkdir()
        (folder / f"a.json.{living}-{start}-000000.tmp").touch()  # of another machine, whose numbers say nothing here
        (folder / f"b.json.{living}-{start}-000000.tmp").touch()
        os.utime(folder / f"b.json.{living}-{start}-000000.tmp", (0, 0))  # and long ago
        (folder / "mine.tmp").touch()
        sweep(folder)
        assert (folder / f"a.partial-{living}-{begun}-{host}").exists()
        assert not (folder / f"a.partial-{living}-{start}-{host}").exists()
    sweep_files(tmp_path)
    for folder in (tmp_path, tmp_path / "below"):
        assert {path.name for path in folder.glob("*.tmp*")} == {
            *(f"a.json.{mark}-{host}.tmp" for mark in (f"{living}-{begun}", f"{pid}-{start}")),
            *(f"a.{mark}-{host}.tmp.mp4" for mark in (f"{living}-{begun}", f"{pid}-{start}")),
            *(f"b.{mark}-{host}.tmp" for mark in (f"{living}-{begun}", f"{pid}-{start}")),
            *("mine.tmp", f"a.json.{living}-{start}-000000.tmp"),
        }


def test_only_what_is_of_the_same_origin_is_continued(tmp_path: Path, dead: int) -> None:
    left = _left(tmp_path, "a", dead)
    for origin, found in (("one", ["half"]), ("two", [])):
        left.mkdir(exist_ok=True)
        (left / "half").write_text("half")
        (left / "other.npz.tmp").write_text("half")
        (left / "origin.txt").write_text("one")
        with pytest.raises(UserError, match="enough"), staged_folder(tmp_path / "a", origin) as partial:
            assert sorted(path.name for path in partial.iterdir() if path.name != "origin.txt") == found
            assert not left.exists()
            raise UserError("enough")
        assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording") / "recording"
    played = (
        Episode.from_transitions(
            e.action[1:11], e.reward[1:11], e.physics[:11] if e.physics is not None else None, None
        )
        for e in played_episodes(TASK, PolicySpec(), 4, seed=0)
    )
    write_dataset(folder, played, describe(TASK, "random", 0, {}), progress=False)
    return folder


def _render(recording: str, out: str, size: int, killed_after: int) -> None:
    """Render, and be killed as by the system after some episodes."""
    original = rendering.DatasetWriter.add

    def add(self: Any, episode: Episode) -> None:
        original(self, episode)
        if self.episodes == killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    rendering.DatasetWriter.add = add  # type: ignore[method-assign]
    render_dataset(Path(recording), Path(out), size, "fast", progress=False)


def _killed(recording: Path, out: Path, after: int = 2) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_render, args=(str(recording), str(out), SIZE, after))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and not out.exists()


class _Drawn:
    """Counts what is drawn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.episodes = 0
        original = rendering.RenderWorker.__call__

        def call(worker: rendering.RenderWorker, name: str) -> Episode | str:
            self.episodes += 1
            return original(worker, name)

        monkeypatch.setattr(rendering.RenderWorker, "__call__", call)


def test_a_killed_rendering_is_continued_and_comes_to_the_same(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = render_dataset(recording, tmp_path / "whole", SIZE, "fast", progress=False)
    _killed(recording, tmp_path / "out")
    (left,) = tmp_path.glob("out.partial-*")
    (left / "episode-000001.npz").write_bytes((left / "episode-000001.npz").read_bytes()[:-40])  # not flushed in time
    drawn = _Drawn(monkeypatch)
    made = render_dataset(recording, tmp_path / "out", SIZE, "fast", progress=False)
    assert drawn.episodes == 3  # of four, the first was there
    assert "going on after 1 of 4 episodes" in capsys.readouterr().out
    assert (made.transitions, made.return_mean, made.image_size) == (whole.transitions, whole.return_mean, SIZE)
    assert_same(list(Dataset(tmp_path / "out")), list(Dataset(tmp_path / "whole")))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [*made.files, "manifest.json"]


def test_what_was_drawn_of_another_recording_or_at_another_size_is_not_used(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = _Drawn(monkeypatch)
    _killed(recording, tmp_path / "out")
    assert render_dataset(recording, tmp_path / "out", 32, "fast", progress=False).image_size == 32
    assert drawn.episodes == 4
    _killed(recording, tmp_path / "second")
    (left,) = tmp_path.glob("second.partial-*")
    first, second = (left / f"episode-{number:06d}.npz" for number in (0, 1))
    first.write_bytes(second.read_bytes())  # whole, of the right sizes, and not the episode that is due
    render_dataset(recording, tmp_path / "second", SIZE, "fast", progress=False)
    assert drawn.episodes == 8
    np.testing.assert_array_equal(*(next(iter(Dataset(folder))).action for folder in (recording, tmp_path / "second")))


def test_ctrl_c_keeps_what_is_drawn(recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = rendering.DatasetWriter.add

    def add(self: Any, episode: Episode) -> None:
        original(self, episode)
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted, pytest.raises(StoppedError, match="the same command continues"):
        interrupted.setattr(rendering.DatasetWriter, "add", add)
        render_dataset(recording, tmp_path / "out", SIZE, "fast", progress=False)
    drawn = _Drawn(monkeypatch)
    render_dataset(recording, tmp_path / "out", SIZE, "fast", progress=False)
    assert drawn.episodes == 3
