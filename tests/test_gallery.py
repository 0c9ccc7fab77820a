"""Pictures on their way into TensorBoard and into a run's folder."""

import io
import threading
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from combo_common.errors import UserError
from latent_combo.runtime.media import MediaWriter, even
from latent_combo.runtime.tensorboard import TensorBoardLog
from latent_combo.runtime.vector_log import VectorLog


def events(folder: Path) -> EventAccumulator:
    read = EventAccumulator(str(folder))
    read.Reload()
    return read


def frames() -> np.ndarray:
    moving = np.zeros((5, 8, 13, 3), np.uint8)
    moving[np.arange(5), :, np.arange(5)] = 255
    return moving


def png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frames()[0]).save(buffer, "png")
    return buffer.getvalue()


def test_a_clip_plays_in_tensorboard_and_is_kept_with_its_numbers(tmp_path: Path) -> None:
    gallery = MediaWriter(tmp_path, TensorBoardLog(tmp_path / "tensorboard"))
    gallery.clip("clip", 3, frames, 10, "kept", {"reward": np.arange(5.0)}, preview=lambda f: f[:2])
    gallery.clip("only shown", 4, frames, 10)
    gallery.close()
    gallery.board.close()
    (event,) = events(tmp_path / "tensorboard").Images("clip")
    assert (event.step, event.height, event.width) == (3, 8, 13)
    assert np.array_equal(iio.imread(event.encoded_image_string, extension=".gif"), frames()[:2])
    video = iio.imread(tmp_path / "videos" / "kept.mp4")
    assert video.shape == (5, 8, 14, 3)
    with np.load(tmp_path / "videos" / "kept.npz") as numbers:
        assert numbers["reward"].tolist() == [0, 1, 2, 3, 4]
    assert sorted(path.name for path in (tmp_path / "videos").iterdir()) == ["kept.mp4", "kept.npz"]
    assert gallery.seconds > 0.0


def test_a_picture_is_shown_and_kept(tmp_path: Path) -> None:
    gallery = MediaWriter(tmp_path, TensorBoardLog(tmp_path / "tensorboard"))
    gallery.picture("curve", 7, png, "curve")
    gallery.close()
    gallery.board.close()
    (event,) = events(tmp_path / "tensorboard").Images("curve")
    assert (event.step, event.height, event.width) == (7, 8, 13)
    assert (tmp_path / "views" / "curve.png").read_bytes() == event.encoded_image_string == png()


def test_drawing_happens_beside_the_caller_and_its_errors_reach_it(tmp_path: Path) -> None:
    gallery = MediaWriter(tmp_path, TensorBoardLog(tmp_path / "tensorboard"))
    threads = []

    def fail() -> bytes:
        threads.append(threading.current_thread())
        raise UserError("the picture is not to be had")

    gallery.picture("one", 1, fail)
    with pytest.raises(UserError, match="not to be had"):
        gallery.wait()
    gallery.close()
    gallery.board.close()
    assert threads != [threading.main_thread()]


def test_even_sizes_for_video() -> None:
    assert even(np.zeros((2, 3, 5, 3), np.uint8)).shape == (2, 4, 6, 3)
    assert even(np.zeros((2, 4, 6, 3), np.uint8)).shape == (2, 4, 6, 3)


def test_a_board_replaces_its_own_earlier_events_only(tmp_path: Path) -> None:
    training, first = TensorBoardLog(tmp_path), TensorBoardLog(tmp_path, ".again")
    training.scalar("loss", 1.0, 1)
    first.scalar("seen", 1.0, 1)
    training.close()
    first.close()
    second = TensorBoardLog(tmp_path, ".again")
    second.scalar("seen", 2.0, 2)
    second.close()
    tags = events(tmp_path)
    assert [event.value for event in tags.Scalars("loss")] == [1.0]
    assert [event.value for event in tags.Scalars("seen")] == [2.0]


def test_histograms_points_and_hyperparameters(tmp_path: Path) -> None:
    for step in (1, 2):  # the second time replaces the first
        board = TensorBoardLog(tmp_path)
        thumbnails = np.full((4, 6, 6, 3), 60 * step, np.uint8)
        board.embedding(
            "features", np.eye(4, dtype=np.float32), {"reward": [0.5, 1, 2, 3], "time": range(4)}, thumbnails, step
        )
    board.histogram("values", np.array([1.0, 2.0, 3.0]), 5)
    board.hyperparameters({"agent.beta": 0.5, "task": "walker-walk"}, {"result/return_mean": 3.0})
    board.close()
    tags = events(tmp_path)
    (histogram,) = tags.Histograms("values")
    assert histogram.histogram_value.num == 3 and histogram.histogram_value.sum == 6.0
    assert (tmp_path / "projector_config.pbtxt").read_text().count("embeddings {") == 1
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert (folder / "features" / "metadata.tsv").read_text() == "reward\ttime\n0.5\t0\n1\t1\n2\t2\n3\t3\n"
    assert np.asarray(Image.open(folder / "features" / "sprite.png")).mean() == 120
    plugin = [
        HParamsPluginData.FromString(m.plugin_data.content)
        for m in tags.summary_metadata.values()
        if m.plugin_data.plugin_name == "hparams"
    ]
    (settings,) = (data.session_start_info.hparams for data in plugin if data.HasField("session_start_info"))
    assert settings["agent.beta"].number_value == 0.5 and settings["task"].string_value == "walker-walk"


def test_a_track_goes_on_and_writes_over_what_a_resumed_run_repeats(tmp_path: Path) -> None:
    track = VectorLog(tmp_path / "views" / "kl.npz")
    assert track.read()[0] == []
    for step in (10, 20, 30, 20):
        track.append(step, np.array([step, len(track.read()[0])], np.float32))
    steps, rows = track.read()
    assert steps == [10, 20]
    assert rows.tolist() == [[10, 0], [20, 3]]
    track.path.write_bytes(b"no file of arrays")
    with pytest.raises(UserError, match=r"kl\.npz can not be read"):
        track.read()
