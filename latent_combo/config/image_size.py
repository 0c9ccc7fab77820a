"""The size of a run's images, and the layers that follow from it where a preset has those of another size."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from combo_common.errors import UserError
from data.reference import DatasetReference
from envs.pixels import drawn_size
from latent_combo.config.arguments import as_written, config_files, split_config
from latent_combo.config.parser import settings_in
from latent_combo.runtime.settings_file import flat, read_settings
from latent_combo.world_model.conv_shapes import MAX_FOLLOWED, MIN_FOLLOWED, channels_of, kernels_of
from latent_combo.world_model.settings import FIRST_CHANNELS, LAYERS, ConvConfig

GROUP = "rssm.conv"
SIZE = f"{GROUP}.image_size"


def image_settings(arguments: list[str], files: Sequence[Path], dataset: DatasetReference) -> list[str]:
    """Options for the size of images and for the layers, to lie above `files` and below the command line's own.

    A dataset that holds images says their size, where the command line does not. Layers follow from a size that is not
    the one of `files`, their first channels those of `files`. Raises UserError for images that no layers follow from.
    """
    own: dict[str, Any] = {}
    for path in files:
        own |= dict(flat(read_settings(path)))
    preset, named = own.get(SIZE, ConvConfig.image_size), dict(_named(arguments))
    size = preset
    if SIZE in named:
        with suppress(ValueError):  # of what is no number, the parser says so
            size = int(named[SIZE])
    else:
        size = _size_of(dataset, preset)
        if not MIN_FOLLOWED <= size <= MAX_FOLLOWED and not all(f"{GROUP}.{name}" in named for name in LAYERS):
            raise UserError(
                f"{dataset.name} holds images of {size} pixels, but models are made for {MIN_FOLLOWED} to "
                f"{MAX_FOLLOWED}; resize them, or set --{SIZE.replace('_', '-')} and all layers in --{GROUP}"
            )
    if size == preset or not MIN_FOLLOWED <= size <= MAX_FOLLOWED:
        return []
    first = (own.get(f"{GROUP}.encoder_channels") or [FIRST_CHANNELS])[0]
    layers = (*channels_of(size, first), kernels_of(size))
    follow = {f"{GROUP}.{name}": list(values) for name, values in zip(LAYERS, layers, strict=True)}
    return [f"--{name}={as_written(value)}" for name, value in {SIZE: size, **follow}.items()]


def _size_of(dataset: DatasetReference, preset: int) -> int:
    """The size of a dataset's images as they are trained on.

    Another program's that are as large as the preset's are drawn are averaged to it, as scoring does.
    """
    size = dataset.image_size
    if size is None:
        return preset
    foreign = dataset.format is not None and not dataset.format.tells_look
    return preset if foreign and size == drawn_size(preset) else size


def _named(arguments: list[str]) -> Iterator[tuple[str, Any]]:
    """The settings of convolutions that a command line or its files name, in the order in which they apply."""
    for path in config_files(arguments):
        if path.is_file():
            yield from ((name, value) for name, value in flat(settings_in(path)) if name.startswith(GROUP))
    single = split_config(arguments)[1]
    for index, argument in enumerate(single):
        name, equals, value = argument.removeprefix("--").partition("=")
        if argument.startswith(f"--{GROUP}."):
            yield name, value if equals else (single[index + 1] if index + 1 < len(single) else "")
