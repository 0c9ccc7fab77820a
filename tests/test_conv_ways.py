"""All ways to compute a convolution are the same sum; the fastest is found once, and kept."""

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_world_model import TINY, draws, make_model, segment
from torch import Tensor

from latent_combo.config.command_line import parse
from latent_combo.numerics import choices as choices_module
from latent_combo.numerics.choices import FILE, Choices, fastest
from latent_combo.numerics.flops import count_flops
from latent_combo.pipeline import build
from latent_combo.world_model import conv_ways, tune
from latent_combo.world_model.conv import Decoder, Encoder, layers_of
from latent_combo.world_model.conv_shapes import algorithms
from latent_combo.world_model.conv_ways import CONVOLUTIONS, TRANSPOSED, Way
from latent_combo.world_model.settings import ConvConfig
from latent_combo.world_model.tune import with_fastest_ways

CPU = torch.device("cpu")
PLAIN = ("plain",) * 6


def derivatives(y: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(9), dtype=y.dtype)
    return (y, *torch.autograd.grad((y * weight).sum(), inputs))


def layer(channels: int, size: int, shape: tuple[int, ...], outputs: int) -> list[Tensor]:
    g = torch.Generator().manual_seed(0)
    image = torch.randn((2, size, size, channels), generator=g, dtype=torch.float64).permute(0, 3, 1, 2)
    parts = [image, *(torch.randn(s, generator=g, dtype=torch.float64) for s in (shape, (outputs,)))]
    return [part.requires_grad_() for part in parts]


@pytest.mark.parametrize("way", ["product", "phases"])
@pytest.mark.parametrize("size", [64, 31, 14, 6, 5, 4])
@pytest.mark.parametrize("biased", [True, False])
def test_convolutions_are_torchs_own(way: str, size: int, biased: bool) -> None:
    x, weight, bias = layer(3, size, (5, 3, 4, 4), 5)
    used = [x, weight, bias] if biased else [x, weight]
    found = [derivatives(CONVOLUTIONS[w](x, weight, bias if biased else None), used) for w in (way, "plain")]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize(
    ("way", "size", "kernel"),
    [("product", 1, 5), ("product", 1, 4), ("phases", 1, 5), ("phases", 5, 5), ("phases", 13, 6), ("phases", 30, 6)],
)
@pytest.mark.parametrize("biased", [True, False])
def test_transposed_convolutions_are_torchs_own(way: str, size: int, kernel: int, biased: bool) -> None:
    x, weight, bias = layer(4, size, (4, 3, kernel, kernel), 3)
    used = [x, weight, bias] if biased else [x, weight]
    found = [derivatives(TRANSPOSED[w](x, weight, bias if biased else None), used) for w in (way, "plain")]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)


@pytest.fixture
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_the_loss_and_its_gradients_do_not_depend_on_the_ways(in_float64: None) -> None:
    data, found = segment(), []
    every = [
        ("phases", "product", "plain", "product", "phases", "phases"),
        ("product", "phases", "product", "plain", "plain", "phases"),
        PLAIN,
    ]
    for ways in every:
        model = make_model(dataclasses.replace(TINY, conv=dataclasses.replace(TINY.conv, ways=ways)))
        loss, _ = model.loss(data, draws())
        found.append([loss, *torch.autograd.grad(loss, list(model.parameters()))])
    for other in found[:-1]:
        for one, plain in zip(other, found[-1], strict=True):
            torch.testing.assert_close(one, plain, atol=1e-10, rtol=1e-10)


def test_operations_are_counted_as_if_all_were_computed_plainly() -> None:
    counted = []
    for ways in (PLAIN, ("phases", "product", "phases", "product", "phases", "phases")):
        model = make_model(dataclasses.replace(TINY, conv=dataclasses.replace(TINY.conv, ways=ways)))
        counted.append(model.operations(segment(batch=4), draws()))
        assert [layer.way.algorithm for layer in layers_of(model.encoder, model.decoder)] == list(ways)
    plain = make_model(dataclasses.replace(TINY, conv=dataclasses.replace(TINY.conv, ways=PLAIN)))
    whole = count_flops(lambda: plain.loss(segment(batch=4), draws())[0].backward())
    assert counted[0] == counted[1] == whole


@pytest.mark.parametrize(
    ("ways", "named"),
    [
        (("plain",), "ways has 1 entries for 3 layers of the encoder and 3 of the decoder"),
        (("plain", "plain", "plain", "phases", "plain", "plain"), "'phases' for a layer of 1 pixels a side"),
        (("plain", "plain", "plain", "product", "product", "plain"), "'product' for a layer of 5 pixels a side"),
        (("fast",) * 6, "ways has 'fast' for a layer of .* pixels a side, which has plain, product, phases, each"),
        (("plain/float16",) * 6, "ways has 'plain/float16' for a layer"),
    ],
)
def test_impossible_ways_are_refused(ways: tuple[str, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        dataclasses.replace(TINY.conv, ways=ways)


def test_bfloat16_is_close_and_leaves_weights_and_results_in_float32() -> None:
    ways = ("plain/bfloat16", "phases/bfloat16", "plain", "product/bfloat16", "plain", "phases/bfloat16")
    low = make_model(dataclasses.replace(TINY, conv=dataclasses.replace(TINY.conv, ways=ways)))
    exact = make_model()
    (ours, _), (theirs, _) = (model.loss(segment(), draws()) for model in (low, exact))
    assert ours.dtype == torch.float32 and ours.detach() != theirs.detach()
    torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=0.0)
    ours.backward()
    assert all(p.dtype == torch.float32 and p.grad is not None and p.grad.dtype == torch.float32
               for p in low.parameters())  # fmt: skip


def test_the_usual_ways_are_products_of_single_pixels_and_torchs_operators() -> None:
    config = ConvConfig()
    model = Encoder(config), Decoder(config, 4)
    from latent_combo.world_model.conv import choose_ways

    choose_ways(config, *model)
    assert [one.way for one in layers_of(*model)] == [
        Way.named(w) for w in ("plain",) * 4 + ("product",) + ("plain",) * 3
    ]
    assert algorithms(True, 1)[0] == "product" and algorithms(True, 5)[0] == algorithms(False, 1)[0] == "plain"


def test_the_fastest_is_measured_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[str] = []

    def seconds(config: ConvConfig, layer: torch.nn.Module, *rest: object) -> dict[str, float]:
        names = tune.candidates(config, layer, CPU)  # type: ignore[arg-type]
        measured.append(type(layer).__name__)
        return {name: 1.0 / (1 + number) for number, name in enumerate(names)}  # the last is the fastest

    monkeypatch.setattr(tune, "_seconds", seconds)
    found = with_fastest_ways(TINY.conv, CPU, 16, Choices(tmp_path, CPU))
    assert found.ways == ("phases",) * 3 + ("plain", "phases", "phases") and len(measured) == 6
    assert with_fastest_ways(TINY.conv, CPU, 16, Choices(tmp_path, CPU)) == found and len(measured) == 6
    assert with_fastest_ways(found, CPU, 16, Choices(tmp_path / "none", CPU)) is found  # what is set is not measured
    monkeypatch.setattr(choices_module, "processor", lambda: "another machine")
    assert with_fastest_ways(TINY.conv, CPU, 16, Choices(tmp_path, CPU)) == found and len(measured) == 12
    (tmp_path / FILE).write_text("{ damaged")
    assert with_fastest_ways(TINY.conv, CPU, 16, Choices(tmp_path, CPU)) == found and len(measured) == 18
    known = json.loads((tmp_path / FILE).read_text())
    assert len(known) == 1
    for word in ("winograd", None):  # of another version of this program, or damaged
        (of_machine,) = known.values()
        of_machine.update(dict.fromkeys(of_machine, word))
        (tmp_path / FILE).write_text(json.dumps(known))
        assert with_fastest_ways(TINY.conv, CPU, 16, Choices(tmp_path, CPU)) == found
    assert len(measured) == 30


def test_every_candidate_is_timed_on_this_machine() -> None:
    encoder, decoder = Encoder(TINY.conv), Decoder(TINY.conv, 1)
    for number, one in enumerate(layers_of(encoder, decoder)):
        taken = tune._seconds(TINY.conv, one, 4, CPU, number == 0)
        assert list(taken) == tune.candidates(TINY.conv, one, CPU) and min(taken.values()) > 0.0


def test_a_choice_changes_for_a_clear_gain_only() -> None:
    assert fastest({"plain": 1.0, "phases": 0.97}) == "plain"
    assert fastest({"plain": 1.0, "phases": 0.9, "product": 0.8}) == "product"


def test_where_the_file_can_not_be_written_the_choice_holds_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Choices(tmp_path / "file", CPU).get("a", ["b"], lambda: "b") == "b"


def test_bfloat16_is_tried_only_where_there_are_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(TINY.conv, bfloat16=True)
    one = layers_of(Encoder(config), Decoder(config, 1))[0]
    monkeypatch.setattr(tune, "multiplies_bfloat16", lambda device: False)
    assert tune.candidates(config, one, CPU) == ["plain", "product", "phases"]
    monkeypatch.setattr(tune, "multiplies_bfloat16", lambda device: True)
    assert tune.candidates(config, one, CPU)[:2] == ["plain/bfloat16", "product/bfloat16"]
    assert tune.candidates(TINY.conv, one, CPU) == ["plain", "product", "phases"]


@pytest.mark.parametrize(
    ("instructions", "fastest", "kept"),
    [(True, "bfloat16", True), (True, "float32", False), (False, "bfloat16", False)],
)
def test_agents_multiply_in_bfloat16_only_where_that_is_faster(
    instructions: bool, fastest: str, kept: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(build, "multiplies_bfloat16", lambda device: instructions)
    monkeypatch.setattr(build, "fastest_precision", lambda: fastest)
    config = parse(["--obs", "state", "--agent.bfloat16", "true", "--data_dir", str(tmp_path), "--out", "x"])[0]
    assert build.with_machine_choices(config, CPU).agent.bfloat16 is kept
    assert build.with_precision(config, CPU).agent.bfloat16 is instructions  # a resumed run measures nothing
    off = replace(config, agent=replace(config.agent, bfloat16=False))
    assert not build.with_machine_choices(off, CPU).agent.bfloat16


def test_channels_are_filled_up_for_tensor_cores_without_changing_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    for ways, inputs in (
        (CONVOLUTIONS, layer(3, 14, (5, 3, 4, 4), 5)),
        (TRANSPOSED, layer(4, 13, (4, 3, 6, 6), 3)),
    ):
        plain = derivatives(ways["phases"](*inputs), inputs)
        monkeypatch.setattr(conv_ways, "_missing", lambda channels, x: -channels % 8)
        for one, other in zip(derivatives(ways["phases"](*inputs), inputs), plain, strict=True):
            torch.testing.assert_close(one, other, atol=1e-11, rtol=1e-11)
        monkeypatch.undo()
