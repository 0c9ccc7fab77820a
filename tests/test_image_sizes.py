"""Images of several sizes: layers follow from the size, and the size from the dataset."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from combo_common.errors import UserError
from data.episode import Episode
from data.formats.dreamer import write_episodes
from data.formats.manifest import describe
from data.formats.native import write_dataset
from data.load import load_pixels
from envs.registry import get_task
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.world_model.conv import Decoder, Encoder
from latent_combo.world_model.settings import ConvConfig
from tests.layouts import write_columns, write_minari

WALKER = get_task("walker-walk")
PAPER_64 = ((32, 64, 128, 256), (128, 64, 32), (5, 5, 6, 6))
PAPER_128 = ((32, 64, 128, 256, 256), (128, 64, 32, 32), (5, 5, 5, 6, 6))


def layers(conv: ConvConfig) -> tuple[tuple[int, ...], ...]:
    return conv.encoder_channels, conv.decoder_channels, conv.decoder_kernels


def walk(size: int, seed: int = 0) -> Episode:
    """A walker's episode of a few steps, whose frames are noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (5, size, size, 3), np.uint8)
    return Episode.from_transitions(rng.uniform(-1.0, 1.0, (4, 6)), np.arange(4.0), image=image)


def config(dataset: Path | str, *more: str) -> Config:
    return parse(["--preset", "quickstart", "--task", "walker-walk", "--dataset", str(dataset), *more])[0]


def test_layers_that_follow_are_the_papers_and_the_presets() -> None:
    assert layers(ConvConfig()) == PAPER_64 and layers(ConvConfig(image_size=128)) == PAPER_128
    given = ConvConfig(128, *PAPER_128[:1], 1024, *PAPER_128[1:])
    assert given == ConvConfig(image_size=128)
    for preset, first in (("quickstart", 16), ("small", 24)):
        own = parse(["--preset", preset])[0].rssm.conv
        assert layers(own) == layers(ConvConfig(image_size=32, encoder_channels=(first, 2 * first, 4 * first)))


@pytest.mark.parametrize(
    ("size", "kernels"),
    [(16, (6, 6)), (17, (7, 5)), (48, (9, 6, 6)), (84, (7, 6, 6, 6)), (96, (9, 5, 6, 6)), (256, (5, 5, 5, 5, 6, 6))],
)
def test_layers_of_other_sizes(size: int, kernels: tuple[int, ...]) -> None:
    conv = ConvConfig(image_size=size, decoder_input=8)
    assert conv.decoder_kernels == kernels and len(conv.encoder_channels) == len(kernels)
    encoder, decoder = Encoder(conv), Decoder(conv, 3)
    assert encoder(torch.zeros(1, 3, size, size)).shape == (1, encoder.embedding_dim)
    assert decoder(torch.zeros(1, 3)).shape == (1, 3, size, size)


def test_all_sizes_from_16_to_256_have_layers_and_others_ask_for_them() -> None:
    for size in range(16, 257):
        conv = ConvConfig(image_size=size)  # which holds the sizes of its layers against that of the images
        assert max(conv.decoder_kernels) <= 10 and max(conv.encoder_channels) <= 256
    for size in (15, 257):
        with pytest.raises(ValueError, match=f"image_size is {size}, but layers follow from sizes of 16 to 256; give"):
            ConvConfig(image_size=size)
    assert ConvConfig(9, (4,), 8, (4,), (3, 5)).image_size == 9


def test_a_size_alone_is_enough_and_keeps_the_presets_width() -> None:
    conv = parse(["--preset", "quickstart", "--rssm.conv.image-size", "84"])[0].rssm.conv
    assert layers(conv) == ((16, 32, 64, 128), (64, 32, 16), (7, 6, 6, 6)) and conv.decoder_input == 256
    assert parse(["--rssm.conv", '{"image_size": 84}'])[0].rssm.conv == conv
    more = ["--rssm.conv.image_size=84", "--rssm.conv.encoder_channels=[4,4]"]
    named = parse(["--preset", "quickstart", *more])[0].rssm.conv
    assert named.encoder_channels == (4, 4) and named.decoder_kernels == conv.decoder_kernels
    with pytest.raises(
        UserError, match="decoder_kernels .* draw 60 pixels, but rssm.conv.image_size is 84; leave rssm.conv.enc"
    ):
        parse(["--rssm.conv.image_size=84", "--rssm.conv.decoder_kernels=[5,5,6,2]"])


@pytest.mark.parametrize("layout", ["dreamer", "vd4rl", "own", "minari"])
@pytest.mark.parametrize("size", [84, 48])
def test_a_dataset_of_any_layout_says_the_size(
    layout: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    episodes, data = [walk(size, seed) for seed in range(2)], tmp_path / "data"
    dataset: Path | str = tmp_path / "walker-walk"
    if layout == "dreamer":
        write_episodes(tmp_path / "walker-walk", episodes, flags=True)
    elif layout == "own":
        described = replace(describe(WALKER, "random", 0, {}), image_size=size, look="fast")
        write_dataset(tmp_path / "walker-walk", episodes, described, progress=False)
    elif layout == "vd4rl":
        (tmp_path / "walker-walk").mkdir()
        columns = {key: np.concatenate([getattr(e, key) for e in episodes]) for key in ("action", "reward", "discount")}
        columns["observation"] = np.concatenate([e.columns()["image"] for e in episodes]).transpose(0, 3, 1, 2)
        columns["step_type"] = np.concatenate([np.array([0, *[1] * (e.length - 1), 2]) for e in episodes])
        write_columns(tmp_path / "walker-walk" / "0.hdf5", columns)
    else:
        pytest.importorskip("minari")
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
        (tmp_path / "minari").mkdir()
        dataset = write_minari(tmp_path, episodes, WALKER)
    conv = config(dataset, "--data_dir", str(data)).rssm.conv
    assert conv.image_size == size and layers(conv) == layers(ConvConfig(size, (16, 32, 64, 128)[: 3 + (size == 84)]))
    assert load_pixels(str(dataset), WALKER, "fast", data, progress=False).observation.shape[1:] == (size, size, 3)
    with pytest.raises(UserError, match=f"{size}.*32"):
        load_pixels(str(dataset), WALKER, "fast", data, image_size=32, progress=False)
    named = config(dataset, "--data_dir", str(data), "--rssm.conv.image_size", "32").rssm.conv
    assert named == parse(["--preset", "quickstart"])[0].rssm.conv


def test_images_of_64_pixels_are_averaged_for_the_small_presets(tmp_path: Path) -> None:
    write_episodes(tmp_path / "walker-walk", [walk(64)], flags=True)
    assert config(tmp_path / "walker-walk").rssm.conv.image_size == 32
    assert config(tmp_path / "walker-walk", "--preset", "paper").rssm.conv == parse(["--preset", "paper"])[0].rssm.conv


def test_images_that_no_layers_follow_from_are_refused(tmp_path: Path) -> None:
    write_episodes(tmp_path / "walker-walk", [walk(300)], flags=True)
    with pytest.raises(UserError, match="holds images of 300 pixels, but models are made for 16 to 256; resize them"):
        config(tmp_path / "walker-walk")
    with pytest.raises(UserError, match="holds states"):  # what observes no images asks for no layers
        load_pixels("hopper-mini", get_task("hopper"), "fast", tmp_path)
    assert parse(["--obs", "state", "--task", "walker-walk", "--dataset", str(tmp_path / "walker-walk")])


def test_files_name_settings_as_a_command_line_does(tmp_path: Path) -> None:
    write_episodes(tmp_path / "walker-walk", [walk(84)], flags=True)
    file = tmp_path / "mine.yaml"
    for conv, size, first in (("image_size: 48", 48, 16), ("image_size:", 84, 16), ("encoder_channels: [4]", 84, 4)):
        file.write_text(f"rssm:\n  conv:\n    {conv}\n")
        made = config(tmp_path / "walker-walk", "--config", str(file)).rssm.conv
        assert (made.image_size, made.encoder_channels[0]) == (size, first)
