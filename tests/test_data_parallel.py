"""One world model that several processes fit together takes the steps of one process, and ends with the first."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from toy_runs import TOY, record

from combo_common.errors import UserError
from latent_combo.config.command_line import parse
from latent_combo.config.schema import Config
from latent_combo.numerics.data_parallel import WHOLE, Group, Share
from latent_combo.pipeline.checks import require_shareable
from latent_combo.runtime import checkpoint
from latent_combo.world_model.augment import random_shift
from latent_combo.world_model.base import Segment
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.settings import ConvConfig, FitConfig, RecurrentConfig, RSSMConfig

TINY = RecurrentConfig(
    conv=ConvConfig(
        image_size=32, encoder_channels=(4, 4, 8), decoder_input=16, decoder_channels=(8, 4), decoder_kernels=(5, 6, 6)
    ),
    dynamics=RSSMConfig(deterministic=12, stochastic=6, hidden=10, members=3),
    head_hidden=8,
)


def batch(step: int, share: Share, draws: torch.Generator) -> Segment:
    """A share of the batch of a step, of 4 sequences, shifted at random."""
    g, dtype = torch.Generator().manual_seed(step), torch.get_default_dtype()
    whole = (
        torch.randint(256, (4, 5, 32, 32, 3), dtype=torch.uint8, generator=g),
        torch.rand(4, 5, 2, generator=g, dtype=dtype) * 2 - 1,
        torch.rand(4, 5, generator=g, dtype=dtype),
        torch.zeros(4, 5, dtype=torch.bool),
        torch.zeros(4, 5, dtype=torch.bool),
    )
    image, *rest = (share.own(column) for column in whole)
    return Segment(random_shift(image, 2, draws, share), *rest)


def fresh_model(share: Share = WHOLE) -> RecurrentWorldModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = RecurrentWorldModel(TINY, action_dim=2)
    model.set_share(share)
    return model


def test_the_mean_of_the_shares_gradients_and_metrics_is_that_of_the_whole_batch() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        found = []
        for share in (WHOLE, Share(0, 2), Share(1, 2)):
            model, draws = fresh_model(share), torch.Generator().manual_seed(5)
            loss, metrics = model.loss(batch(0, share, draws), draws)
            del metrics["disagreement"]  # a standard deviation, which is no mean over rows
            found.append([*torch.autograd.grad(loss, list(model.parameters())), *metrics.values()])
    finally:
        torch.set_default_dtype(torch.float32)
    whole, first, second = found
    for one, mine, other in zip(whole, first, second, strict=True):
        # image losses have float32 images in them
        torch.testing.assert_close((mine + other) / 2.0, one, rtol=1e-6, atol=1e-9)
    assert float((first[0] - second[0]).abs().max()) > 1e-3  # their rows differ


class Threads(Group):
    """Processes that are threads: what each gives is averaged when the last has come."""

    def __init__(self, share: Share, given: list[list[Tensor]], barrier: threading.Barrier) -> None:
        super().__init__(share)
        self.given, self.barrier = given, barrier

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        self.given[self.share.rank] = list(tensors)
        self.barrier.wait(60)
        means = [torch.stack(column).mean(0) for column in zip(*self.given, strict=True)]
        self.barrier.wait(60)
        return means


class Fitted:
    """Three steps of a fit, and what they logged."""

    def __init__(self, share: Share = WHOLE, group: Group | None = None) -> None:
        draws = torch.Generator().manual_seed(5)
        config = FitConfig(steps=3, learning_rate=1e-3, gradient_clip=1.0)
        model = fresh_model(share)
        self.before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        self.fit = Fit(model, config, lambda: batch(self.fit.step, share, draws), draws, group=group)
        self.rows: list[dict[str, float]] = []

    def run(self) -> None:
        self.rows = [{name: float(value) for name, value in metrics.items()} for metrics in self.fit]


def test_two_take_the_steps_that_one_takes() -> None:
    given: list[list[Tensor]] = [[], []]
    alone, barrier = Fitted(), threading.Barrier(2)
    alone.run()
    both = [Fitted(share, Threads(share, given, barrier)) for share in (Share(0, 2), Share(1, 2))]
    threads = [threading.Thread(target=fitted.run) for fitted in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for fitted in both:
        moved = apart = 0.0
        for name, tensor in alone.fit.model.state_dict().items():
            moved += float((tensor - alone.before[name]).square().sum())
            apart += float((tensor - fitted.fit.model.state_dict()[name]).square().sum())
        assert apart < 1e-6 * moved
        for row, expected in zip(fitted.rows, alone.rows, strict=True):
            del row["disagreement"]  # see above
            assert row == pytest.approx({name: expected[name] for name in row}, rel=1e-3)


SCRIPT = """
from toy_runs import short_episodes

from latent_combo.train import main

with short_episodes():
    main()
"""
LESS = "--agent_fit.updates 2 --agent_fit.warm_up 1 --views.every 0 --score.episodes 0 --agent_fit.evaluations 0"


@pytest.mark.slow
def test_torchrun_fits_the_model_that_one_process_fits_and_goes_on_alone(tmp_path: Path) -> None:
    record(tmp_path)
    script = tmp_path / "short_episodes.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join(map(str, (Path(__file__).parent, *sys.path)))
    folder = {**os.environ, "LATENT_COMBO_DATA": str(tmp_path), "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    run = [str(script), *TOY.split(), *LESS.split(), "--out"]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for out, start in (("one", []), ("two", launch)):
        command = [sys.executable, *start, *run, str(tmp_path / out)]
        done = subprocess.run(command, env=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("trained in") + done.stdout.count("dataset     tiny") <= 2  # the first alone speaks
    one, two = (
        checkpoint.load(tmp_path / out / "checkpoints" / "world_model", torch.device("cpu"))["fit"]
        for out in ("one", "two")
    )
    assert one["step"] == two["step"] == 6
    for name, tensor in one["model"].items():
        torch.testing.assert_close(two["model"][name], tensor, rtol=1e-3, atol=1e-5)
    assert (tmp_path / "two" / "result.json").is_file()


def settings(*more: str) -> Config:
    return parse([*TOY.split(), "--dataset", "cartpole-balance-mini", "--out", "unused", *more])[0]


@pytest.mark.parametrize(
    "more, message",
    [
        (["--world_model_fit.batch", "3"], "world_model_fit.batch is 3, which 2 processes can't share alike"),
        (["--rssm.free_nats", "1"], "rssm.free_nats is 1.0, which counts for a whole batch"),
        (["--algorithm", "cql-pixels"], "this run has none to fit; start one process"),
    ],
)
def test_what_processes_can_not_share_is_refused(
    more: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_shareable(settings(*more))  # by one process, all is possible
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=message):
        require_shareable(settings(*more))
