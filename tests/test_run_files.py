"""Files of a run: whole or not at all, and read back only as they were written."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest

from combo_common.errors import UserError
from combo_common.files import replacing, write_atomically
from latent_combo.runtime.new_run import require_new_run
from latent_combo.runtime.run_folder import config_file
from latent_combo.runtime.video import Frames, encode_gif, write_mp4


def clip(count: int = 6, height: int = 32, width: int = 48) -> Frames:
    """Frames of one level of grey each, brighter and brighter."""
    levels = np.linspace(20, 220, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def test_a_file_appears_whole_in_folders_that_are_made(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b" / "result.json", b"{}")
    assert (tmp_path / "a" / "b" / "result.json").read_bytes() == b"{}"
    assert len(list((tmp_path / "a" / "b").iterdir())) == 1


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_a_failure_leaves_the_earlier_file_and_nothing_half_written(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, b"earlier")
    with pytest.raises(failure), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise failure
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_atomically(path, b"x"),
        lambda path: write_mp4(path, clip(), 10),
    ],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(UserError, match="cannot write to .*taken/out.mp4.*choose another folder"):
        write(tmp_path / "taken" / "out.mp4")


def test_where_a_run_cannot_be_begun_is_told_before_anything_is_drawn(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, not a folder")
    for out in (tmp_path / "taken", tmp_path / "taken" / "run"):
        with pytest.raises(UserError, match=rf"cannot write to {out}: .*taken is a file; choose another --out"):
            require_new_run(out)
    (tmp_path / "run").mkdir()
    require_new_run(tmp_path / "run")
    require_new_run(tmp_path / "new" / "run")
    assert not (tmp_path / "new").exists()
    (tmp_path / "run" / "config.yaml").write_text("seed: 1")
    with pytest.raises(UserError, match="run holds a run already; choose another --out, or go on with: .*--resume"):
        require_new_run(tmp_path / "run")
    with pytest.raises(UserError, match=f"it has no config.yaml; name a run in it, such as {tmp_path / 'run'}"):
        config_file(tmp_path)


def test_a_gif_keeps_frames_pace_and_the_colours_that_it_must() -> None:
    exact = ((1, 2, 3), (200, 10, 90))
    frames = clip()
    frames[:, 0, 0], frames[:, 0, 1] = exact
    content = encode_gif(frames, 10, exact)
    read = iio.imread(content, extension=".gif")
    assert read.shape == frames.shape
    assert (read[:, 0, 0] == exact[0]).all() and (read[:, 0, 1] == exact[1]).all()
    assert np.abs(read.astype(int) - frames.astype(int)).max() <= 4
    assert iio.immeta(io.BytesIO(content), extension=".gif")["duration"] == 100


def test_what_ffmpeg_writes_after_it_was_left_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing that is cut off while ffmpeg starts leaves it without anybody who would end it."""
    started = []

    def left(*given: Any, **named: Any) -> None:
        started.append(subprocess.Popen(*given, **named))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("imageio_ffmpeg._io.subprocess", SimpleNamespace(Popen=left, PIPE=subprocess.PIPE))
        write_mp4(tmp_path / "clip.mp4", clip(), 10)
    (process,) = started
    process.communicate(clip().tobytes(), timeout=20)
    assert not list(tmp_path.iterdir())


def test_an_mp4_keeps_frames_brightness_and_pace(tmp_path: Path) -> None:
    write_mp4(tmp_path / "videos" / "clip.mp4", clip(), 10)
    read = iio.imread(tmp_path / "videos" / "clip.mp4")
    assert read.shape == clip().shape
    assert np.abs(read.mean((1, 2, 3)) - clip().mean((1, 2, 3))).max() < 4
    assert iio.immeta(tmp_path / "videos" / "clip.mp4")["fps"] == 10
    assert [path.name for path in (tmp_path / "videos").iterdir()] == ["clip.mp4"]
