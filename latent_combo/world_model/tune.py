"""Finding the fastest way to compute each convolution on this machine."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from latent_combo.numerics.capture import CapturedStep
from latent_combo.numerics.choices import Choices, fastest
from latent_combo.numerics.precision import multiplies_bfloat16
from latent_combo.world_model.conv import ConvLayer, Decoder, Encoder, TransposedLayer, layers_of
from latent_combo.world_model.conv_shapes import algorithms
from latent_combo.world_model.conv_ways import Way
from latent_combo.world_model.settings import ConvConfig

REPEATS = 4
CPU_IMAGES = 32
"""A layer's time per image hardly depends on how many there are, and a CPU takes a second for so many."""
MAX_SLOWDOWN = 4.0
"""A way that takes so many times as long as the best is not tried again."""


def with_fastest_ways(
    config: ConvConfig, device: torch.device, images: int, choices: Choices, graphs: str = "auto"
) -> ConvConfig:
    """Say for each layer how it is computed, where the config leaves that open.

    What no earlier run has measured is measured now, in two seconds on a CPU, and kept in `choices`. `images` is the
    number of images of a step, and `graphs` as in `CapturedStep`.
    """
    if config.ways:
        return config
    with torch.random.fork_rng():  # weights whose values matter to nobody
        encoder, decoder = Encoder(config).to(device), Decoder(config, 1).to(device)
    ways = []
    for number, layer in enumerate(layers_of(encoder, decoder)):
        first = number == 0  # nothing is behind the images that would need a gradient
        names = candidates(config, layer, device)
        measure = partial(_fastest, config, layer, images, device, first, graphs)
        ways.append(choices.get(_described(config, layer, images, device, graphs), names, measure))
    return replace(config, ways=tuple(ways))


def _described(
    config: ConvConfig, layer: ConvLayer | TransposedLayer, images: int, device: torch.device, graphs: str
) -> str:
    """All that a layer's choice may depend on."""
    about = f"{type(layer).__name__} {tuple(layer.weight.shape)} of {layer.size} px, bfloat16 {config.bfloat16}"
    if device.type == "cpu":
        return about
    return f"{about}, {images} images, TF32 {torch.backends.cudnn.allow_tf32}, graphs {graphs}"


def _fastest(
    config: ConvConfig, layer: ConvLayer | TransposedLayer, images: int, device: torch.device, first: bool, graphs: str
) -> str:
    return fastest(_seconds(config, layer, images, device, first, graphs))


def candidates(config: ConvConfig, layer: ConvLayer | TransposedLayer, device: torch.device) -> list[str]:
    """The ways that are worth a try, the usual one first."""
    names = list(algorithms(isinstance(layer, TransposedLayer), layer.size))
    if not config.bfloat16 or not multiplies_bfloat16(device):
        return names
    low = [f"{name}/bfloat16" for name in names]
    return [*low, *names]


def _seconds(
    config: ConvConfig,
    layer: ConvLayer | TransposedLayer,
    images: int,
    device: torch.device,
    first: bool,
    graphs: str = "auto",
) -> dict[str, float]:
    """Time each candidate forward and backward, (least) seconds by name."""
    count = images if device.type == "cuda" else min(images, CPU_IMAGES)
    draws = torch.Generator(device).manual_seed(0)
    shape = (count, layer.size, layer.size, layer.in_channels)
    x = torch.rand(shape, device=device, generator=draws).permute(0, 3, 1, 2).requires_grad_(not first)

    def work() -> None:
        y = layer(x)
        inputs = [p for p in (x, *layer.parameters()) if p.requires_grad]
        torch.autograd.grad(y, inputs, torch.ones_like(y))

    taken: dict[str, float] = {}
    ready = {name: _ready(layer, name, work, draws, graphs) for name in candidates(config, layer, device)}
    for turn in range(REPEATS):  # in turns, for machines are noisy
        for name, run in ready.items():
            if turn and taken[name] > MAX_SLOWDOWN * min(taken.values()):
                continue
            layer.way = Way.named(name)
            taken[name] = min(_timed(run, device), taken.get(name, float("inf")))
    return taken


def _ready(
    layer: ConvLayer | TransposedLayer, name: str, work: Callable[[], None], generator: torch.Generator, graphs: str
) -> Callable[[], None]:
    """Do the work once, for libraries choose and compile then; as a graph where training steps are graphs."""
    layer.way = Way.named(name)
    run = CapturedStep(f"a layer {tuple(layer.weight.shape)} by {name}", work, lambda: [], generator, graphs)
    run()
    return run


def _timed(work: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started
