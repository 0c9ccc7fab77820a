"""Steps that a GPU runs as a graph: here without one, by what would break the capture."""

import dataclasses
import functools
from collections.abc import Callable

import pytest
import torch
from small_agents import CPU, SMALL, draws, make_agent
from small_agents import dataset as small_dataset
from test_world_model import TINY, make_model, segment
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from toy_models import segment_of_states

from combo_common.errors import UserError
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.fit import AgentFit, SideBySide
from latent_combo.agent.penalties.known import penalty_of
from latent_combo.agent.settings import AgentConfig, AgentFitConfig
from latent_combo.numerics.capture import CapturedStep
from latent_combo.numerics.finite import NonFiniteError
from latent_combo.world_model.base import ModelStep, Segment
from latent_combo.world_model.ensemble import EnsembleWorldModel
from latent_combo.world_model.fit import Fit
from latent_combo.world_model.recurrent import RecurrentWorldModel
from latent_combo.world_model.settings import EnsembleConfig, FitConfig, RSSMConfig


def pixel_fit(sample: Callable[[], Segment] = segment, config: FitConfig | None = None) -> Fit:
    model = make_model(dataclasses.replace(TINY, discount_head=True))
    return Fit(model, config or FitConfig(steps=100, weight_decay=1e-2), sample, draws())


def agent_fit(config: AgentConfig = SMALL, **schedule: int) -> AgentFit:
    model = make_model(
        dataclasses.replace(TINY, dynamics=RSSMConfig(deterministic=3, stochastic=2, hidden=4, members=3))
    )
    agent = make_agent(config, dataclasses.replace(config, critic_learning_rate=1e-3))
    settings = {"updates": 100, "rollout_batch_size": 10, "rollout_every": 50, **schedule}
    return AgentFit(agent, model.requires_grad_(False), small_dataset(), AgentFitConfig(**settings), draws())


def states_fit(ending: str) -> Fit:
    model = EnsembleWorldModel(EnsembleConfig(hidden=8), 3, 2, ending)
    return Fit(model, FitConfig(steps=9), lambda: segment_of_states(14, 2, 3, 2), draws())


STEPS: dict[str, Callable[[], Callable[[], object]]] = {
    "a step on pixels": lambda: pixel_fit().descend,
    "a step on states": lambda: states_fit("none").descend,
    "a step on states with a terminal head": lambda: states_fit("learned").descend,
    "an imagined step that a terminal head may end": lambda: functools.partial(
        states_fit("learned").model.imagine_step, torch.zeros(9, 3), torch.zeros(9, 2), draws()
    ),
    "an update": lambda: with_model_data(agent_fit()).update,
    "an update with an anchor": lambda: (
        with_model_data(
            agent_fit(
                dataclasses.replace(SMALL, anchor=2.5, softmax_draws=2, trajectory_temperature=0.1, policy_average=0.9)
            )
        ).update
    ),
    "an update of bc": lambda: (
        agent_fit(
            dataclasses.replace(SMALL, extraction="imitation", beta=0.0, real_ratio=1.0, penalty_states="dataset")
        ).update
    ),
    "an update in a warm-up": lambda: functools.partial(with_model_data(agent_fit(warm_up=5)).update, True, False),
    "an update of sac": lambda: (
        agent_fit(
            dataclasses.replace(SMALL, beta=0.0, real_ratio=1.0, penalty_states="dataset", entropy_in_target=True)
        ).update
    ),
    "rollouts": lambda: agent_fit().roll_out,
}


def with_model_data(fit: AgentFit) -> AgentFit:
    fit.roll_out()
    return fit


def fit_of(algorithm: str) -> AgentFit:
    """A fit of an algorithm on states, with what it takes from the model's rewards."""
    known = ALGORITHMS[algorithm]
    own = {"num_sampled_actions": 10, **known.defaults, **known.settings}
    config = dataclasses.replace(SMALL, **own)  # type: ignore[arg-type]
    model = EnsembleWorldModel(EnsembleConfig(hidden=8), 5, 2, "none").requires_grad_(False)
    schedule = AgentFitConfig(updates=100, rollout_batch_size=10)
    return AgentFit(make_agent(config), model, small_dataset(), schedule, draws(), penalty=penalty_of(known))


@pytest.mark.parametrize("algorithm", [name for name, known in ALGORITHMS.items() if known.has_world_model])
def test_no_algorithm_reads_anything_of_the_device(algorithm: str) -> None:
    """Those that see frames: tests/test_pixel_agent.py."""
    fit, other = fit_of(algorithm), fit_of(algorithm)
    if fit.buffer is not None:
        with FakeTensorMode(allow_non_fake_inputs=True):
            other.roll_out()
        fit.roll_out()
    with FakeTensorMode(allow_non_fake_inputs=True):
        fit.update()


@pytest.mark.parametrize("name", STEPS)
def test_what_is_captured_reads_nothing_of_the_device(name: str) -> None:
    """Nothing that was computed in it: a read of weights or settings alone would not be found here."""
    step = STEPS[name]()
    with FakeTensorMode(allow_non_fake_inputs=True):
        step()


@pytest.mark.parametrize("name", ["a step on pixels", "an update", "rollouts"])
def test_a_planted_read_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = STEPS[name]()
    if name == "a step on pixels":
        loss = RecurrentWorldModel.loss
        monkeypatch.setattr(RecurrentWorldModel, "loss", lambda *given: [found := loss(*given), found[0].item()][0])
    else:
        act = "latent_combo.agent.networks.TanhGaussian.act"
        monkeypatch.setattr(act, lambda self, noise: self.loc.tanh() * (1.0 if bool(noise.sum() > 0) else 0.5))
    with pytest.raises(DataDependentOutputException), FakeTensorMode(allow_non_fake_inputs=True):
        step()


def test_a_fit_is_a_plainly_written_loop_bit_by_bit() -> None:
    config = FitConfig(steps=20, learning_rate=0.5**9, final_learning_rate=0.25, gradient_clip=10.0, weight_decay=0.01)
    batches = [segment(seed=seed) for seed in range(20)]
    given = iter(batches)
    fit = pixel_fit(lambda: next(given), config)
    for _ in range(20):
        fit.take_step()
    model, noise = pixel_fit().model, draws()
    optimiser = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=True)
    clipped = 0
    for step, batch in enumerate(batches):
        optimiser.zero_grad()
        model.loss(batch, noise)[0].backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
        clipped += int(norm > 10.0)
        for gradient in gradients:
            gradient.div_((norm / 10.0).clamp(min=1.0))
        for group in optimiser.param_groups:
            group["lr"] = float(fit_rate(config, step))
        optimiser.step()
    assert clipped > 0
    for (name, ours), theirs in zip(fit.model.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def fit_rate(config: FitConfig, step: int) -> Tensor:
    """The rate of a step as a float32, of which the schedule's own test says the value."""
    from latent_combo.numerics.schedule import cosine

    return torch.tensor(config.learning_rate * cosine(step / config.steps, config.final_learning_rate))


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        dataclasses.replace(SMALL, penalty_states="model", softmax_draws=2),
        dataclasses.replace(SMALL, anchor=2.5),
    ],
)
def test_an_update_without_a_report_is_the_same_update(config: AgentConfig) -> None:
    told, untold = agent_fit(config, warm_up=1), agent_fit(config, warm_up=1)
    for _ in range(4):
        reported, brief = told.take_step(), untold.take_step(report=False)
        assert brief.keys() < reported.keys()
    for name, value in told.agent.state_dict().items():
        assert torch.equal(value, untold.agent.state_dict()[name]), name


@pytest.mark.parametrize("check_every", [1, 7])
def test_a_bad_number_ends_a_fit_with_the_weights_before_it_and_its_batch(check_every: int) -> None:
    given: dict[int, Segment] = {}

    def feed(step: int) -> None:
        fed[0] = step

    def sample() -> Segment:
        data = segment(seed=fed[0])
        action = torch.rand(data.action.shape, generator=noise)  # drawn in the step, as shifts of images are
        data = dataclasses.replace(data, action=action)
        if fed[0] == 3:
            data.reward[0, 1] = float("nan")
        given.setdefault(fed[0], data)
        return data

    fed, noise = [0], draws(5)
    fit = Fit(make_model(), FitConfig(steps=20), sample, noise, feed, check_every=check_every)
    with pytest.raises(NonFiniteError, match="world model, step 3: the loss is nan") as stopped:
        list(fit)
    assert fit.step == (4 if check_every == 1 else 7)
    for name, part in stopped.value.batch.items():  # what was drawn then, to the last bit
        assert torch.equal(part.nan_to_num(), getattr(given[3], name).nan_to_num()), name
    fed, noise, bad = [0], draws(5), fit
    good = Fit(make_model(), FitConfig(steps=20), sample, noise, feed)
    for _ in range(3):
        good.take_step()
    for (name, ours), theirs in zip(bad.model.named_parameters(), good.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize(("warm_up", "where"), [(0, "reward"), (0, "actor"), (9, "reward")])
@pytest.mark.parametrize("check_every", [1, 4])
def test_a_bad_number_ends_the_agents_with_the_weights_before_it_and_its_batch(
    warm_up: int, where: str, check_every: int
) -> None:
    """In the sixth update, after which a round of rollouts would replace what the batch was drawn from."""
    drawn: list[tuple[Batch, Noise]] = []

    def fit(bad: bool) -> AgentFit:
        made = agent_fit(warm_up=warm_up, rollout_every=6)
        made._check_every = check_every
        draw = made.draw

        def watched(warm: bool) -> tuple[Batch, Noise, Tensor]:
            batch, noise, share = draw(warm)
            if bad and int(made.agent.finite.steps) >= 5:
                (batch.reward if where == "reward" else noise.actor)[0, 0] = float("nan")
            drawn.append((batch, noise))
            return batch, noise, share

        made.draw = watched  # type: ignore[method-assign]
        return made

    stopped = fit(bad=True)
    part = "critic" if where == "reward" else "actor"
    with pytest.raises(NonFiniteError, match=f"agent, {part} update, step 5: ") as told:
        list(stopped)
    assert told.value.step == 5 and stopped.step == {1: 6, 4: 6}[check_every]
    batch, noise = drawn[5]
    for name, value in told.value.batch.items():  # what was drawn then, to the last bit
        kind, _, field = name.partition(".")
        assert torch.equal(value.nan_to_num(), getattr({"batch": batch, "noise": noise}[kind], field).nan_to_num()), (
            name
        )
    before = fit(bad=False)
    for _ in range(5):
        before.take_step()
    for name, value in stopped.agent.state_dict().items():
        if where == "reward" or "critic" not in name:  # whose step was good, and taken before the policy's turn
            assert torch.equal(value, before.agent.state_dict()[name]), name


def test_a_bad_number_of_the_model_ends_the_agents() -> None:
    fit = agent_fit(rollout_every=2)
    imagine = fit.model.imagine_step

    def broken(feature: Tensor, action: Tensor, generator: torch.Generator) -> ModelStep:
        step = imagine(feature, action, generator)
        return dataclasses.replace(step, reward=step.reward * float("inf"))

    fit.model.imagine_step = broken  # type: ignore[method-assign]
    before = {name: value.clone() for name, value in fit.agent.state_dict().items()}
    with pytest.raises(NonFiniteError, match="agent, critic update, step 0: the loss is (nan|inf)"):
        list(fit)
    for name, value in fit.agent.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_stacks_side_by_side_are_the_same_stacks_alone() -> None:
    configs = [SMALL, dataclasses.replace(SMALL, gamma=0.9)]
    together = SideBySide([agent_fit(config) for config in configs])
    metrics = together.take_steps(3)
    for number, config in enumerate(configs):
        alone = agent_fit(config)
        for _ in range(3):
            last = alone.take_step()
        assert torch.equal(metrics[number]["q_data"], last["q_data"])
        for name, value in together.fits[number].agent.state_dict().items():
            assert torch.equal(value, alone.agent.state_dict()[name])
    assert not torch.equal(metrics[0]["target"], metrics[1]["target"])
    one, other = agent_fit(), agent_fit()
    other.generator = one.generator
    with pytest.raises(ValueError, match="need a generator each"):
        SideBySide([one, other])


def test_networks_that_were_moved_are_not_updated() -> None:
    fit = with_model_data(agent_fit())
    fit.agent.critic.double().float()
    with pytest.raises(AssertionError, match="the networks were moved"):
        fit.update()


def test_without_a_gpu_graphs_are_refused_or_left_out() -> None:
    with pytest.raises(
        UserError, match="cuda_graphs is on, but the device is a CPU, which has none; use --cuda_graphs auto"
    ):
        CapturedStep("a step", lambda: None, lambda: [], draws(), "on")
    calls: list[int] = []
    step = CapturedStep("a step", lambda: calls.append(1), lambda: [], draws())
    step()
    assert calls == [1] and not step.captured and draws().device == CPU
