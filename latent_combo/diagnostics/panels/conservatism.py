"""Whether the critic is conservative where it should be: its values by kind of pair, and against what was achieved."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.offline import OfflineDataset
from latent_combo.agent.replay import ModelBuffer
from latent_combo.agent.rollout import rollout
from latent_combo.diagnostics.panels.acting import AGENT, imagine_policy
from latent_combo.diagnostics.style import BLACK, BLUE, GREEN, GREY, VERMILION, finish, new_figure
from latent_combo.world_model.base import Segment, WorldModel

Floats = NDArray[np.float32]
PAIRS_PER_KIND = 1024
"""Pairs of each kind."""
MAX_TAIL = 0.02
"""A return is compared with a value where at most this share of the discounted future lies beyond the episode's end."""
WORST_SHARE = 0.25
"""Share of the episodes, those of least return, that are shown apart: a mean hides how a policy fails."""
STEPS_BETWEEN_STATES = 10
"""Steps of an episode between states that are compared."""
PANEL_WIDTH = 14.0 / 3.0
"""Inches."""
COLOURS = {"dataset": BLUE, "model": VERMILION, "random": GREY}
"""Of each kind of pairs."""


@dataclass(frozen=True)
class Values:
    """min_i Q_i(s, a) of the first agent, (N,) each."""

    dataset: Floats
    """Pairs that the agent trains on."""
    model: Floats | None
    """Pairs of rollouts in the model, by the agent's own mu; None where there is no model."""
    random: Floats
    """Uniform actions in the dataset's states."""

    def kinds(self) -> dict[str, Floats]:
        """Those that there are, by name."""
        return {name: part for name, part in vars(self).items() if part is not None}


@dataclass(frozen=True)
class Achieved:
    """What the first agent expected along its own episodes, and what it got."""

    value: Floats
    """(M,): min_i Q_i of the action that it took."""
    discounted_return: Floats
    """(M,): of the episode from there on."""
    dream_return: Floats
    """(J,): sum of the rewards of `steps` steps that it dreams of, from where an episode stood; J is 0 without a
    model."""
    true_return: Floats
    """(J,): sum of those that it got there."""
    steps: int
    episodes: int
    of_worst: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    """(M,): whether the episode of a value is one of the worst, by its return; none are where it is empty."""

    @property
    def span(self) -> str:
        """Where those states are."""
        return f"of {self.episodes} episodes, their future seen"

    @property
    def below(self) -> NDArray[np.bool_]:
        """(M,): where the value is at most what was achieved."""
        return np.asarray(self.value <= self.discounted_return)

    @property
    def worst(self) -> str:
        """What states of the worst episodes there are."""
        return f"{int(self.of_worst.sum())} states of the {number_of_worst(self.episodes)} with the least return"

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every number, by name, to be saved."""
        return {name: np.asarray(value) for name, value in vars(self).items()}

    def figures(self) -> dict[str, float]:
        """The mean of value less return, the share of values below it, and dreamed over true return.

        The first two for all episodes and, with `_in_worst`, for the worst ones. Left out are those for which no
        episode was long enough, or no return positive.
        """
        figures = {}
        if len(self.value):
            figures["q_minus_return"] = float((self.value - self.discounted_return).mean())
            figures["q_below_return"] = float(self.below.mean())
        if self.of_worst.any():
            figures["q_minus_return_in_worst"] = float((self.value - self.discounted_return)[self.of_worst].mean())
            figures["q_below_return_in_worst"] = float(self.below[self.of_worst].mean())
        if self.true_return.sum() > 0.0:
            figures["dream_over_true_return"] = float(self.dream_return.sum() / self.true_return.sum())
        return figures


def q(agent: ConservativeActorCritic, seen: Tensor, action: Tensor) -> Tensor:
    """The first agent's min_i Q_i(s, a) (N,) of what its filter believes (N, ...) and actions (N, A)."""
    features = agent.encode(seen.expand(agent.num_agents, *seen.shape))
    values: Tensor = agent.critic(features, action.expand(agent.num_agents, -1, -1)[:, :, None])
    return values[:, AGENT, :, 0].amin(0)


@torch.no_grad()
def sample_values(
    agent: ConservativeActorCritic,
    model: WorldModel | None,
    dataset: OfflineDataset,
    horizon: int,
    generator: torch.Generator,
) -> Values:
    """Draw pairs of each kind and value them; the model's are imagined anew, `horizon` steps from dataset states."""
    device = generator.device
    seen, action = (part[0] for part in dataset.pairs(*dataset.draw((1, PAIRS_PER_KIND), generator)))
    imagined = None
    if model is not None:
        branches = -(-PAIRS_PER_KIND // horizon)
        buffer = ModelBuffer(agent.num_agents, branches * horizon, seen.shape[-1], agent.action_dim, device)
        rollout(model, agent, dataset, buffer, branches, horizon, generator)
        imagined = (buffer.feature[AGENT], buffer.action[AGENT])
    uniform = torch.rand(action.shape, generator=generator, device=device) * 2.0 - 1.0

    def valued(states: Tensor, actions: Tensor) -> Floats:
        values: Floats = q(agent, states, actions).cpu().numpy()
        return values

    return Values(
        dataset=valued(seen, action),
        model=None if imagined is None else valued(*imagined),
        random=valued(seen, uniform),
    )


def discounted_returns(reward: Tensor, discount: float) -> Tensor:
    """Discounted sums (B, L) of the rewards after each row, for rewards (B, L) in Dreamer indexing."""
    total = torch.zeros_like(reward[:, 0])
    sums = []
    for following in reward.flip(1).unbind(1):
        sums.append(total)
        total = following + discount * total
    return torch.stack(sums[::-1], 1)


@torch.no_grad()
def achieved(
    agent: ConservativeActorCritic,
    model: WorldModel | None,
    believed: Callable[[Tensor], Tensor],
    played: Segment,
    steps: int,
    context: int,
    generator: torch.Generator,
    repeats: int = 4,
) -> Achieved:
    """Compare expectation and outcome along B episodes that the first agent played.

    `believed` returns what its filter believed (B, T, ...) at rows (T,). Dreams, for which it takes a model, begin
    every `steps` rows, after `context` rows were seen, and are the mean of `repeats` samples. States after an episode's
    end are left out, and so are those before a time limit whose discounted future lies beyond it.
    """
    length, discount = played.action.shape[1], agent.config.gamma
    alive = played.terminal.cumsum(1) == 0
    returns = discounted_returns(played.reward, discount)
    within = _rows_within(length, discount)
    whole = played.terminal.any(1)  # an episode that the task ended has no future beyond
    rows = torch.arange(0, length - 1, STEPS_BETWEEN_STATES)
    value = q(agent, believed(rows).flatten(0, 1), played.action[:, rows + 1].flatten(0, 1))
    seen = whole[:, None] | (rows < within).to(whole.device)
    compared = alive[:, rows] & seen
    dreamed = true = played.reward.new_zeros(0)
    if model is not None:
        starts = list(range(context, length - steps, steps)) or [0]
        lived = alive[:, starts].flatten()
        begun = believed(torch.tensor(starts)).flatten(0, 1).repeat(repeats, 1)
        imagined = imagine_policy(model, agent.acting, agent.num_agents, begun, steps, generator).reward.sum(1)
        dreamed = imagined.unflatten(0, (repeats, -1)).mean(0)[lived]
        true = torch.stack([played.reward[:, t + 1 : t + 1 + steps].sum(1) for t in starts], 1).flatten()[lived]
    return Achieved(
        value=value[compared.flatten()].cpu().numpy(),
        discounted_return=returns[:, rows][compared].cpu().numpy(),
        dream_return=dreamed.cpu().numpy(),
        true_return=true.cpu().numpy(),
        steps=steps,
        episodes=len(played.action),
        of_worst=worst_episodes(played.reward)[:, None].expand_as(compared)[compared].cpu().numpy(),
    )


def number_of_worst(episodes: int) -> int:
    """How many of some episodes count as the worst."""
    return max(1, int(WORST_SHARE * episodes))


def worst_episodes(reward: Tensor) -> Tensor:
    """Which of B episodes (B,) have the least sums of their rewards (B, L); bool."""
    worst = torch.zeros(len(reward), dtype=torch.bool, device=reward.device)
    worst[reward.sum(1).argsort(stable=True)[: number_of_worst(len(reward))]] = True
    return worst


def _rows_within(length: int, discount: float) -> int:
    """How many rows, from the first on, have nearly all of their discounted future in an episode of `length` rows."""
    if discount >= 1.0:
        return 1
    return max(0, length - math.ceil(math.log(MAX_TAIL) / math.log(discount)))


def draw_conservatism(values: Values, outcome: Achieved | None) -> Figure:
    """Draw the values' distributions, and both comparisons where the agent has played, dreams where it has a model."""
    panels = 2 if values.model is None else 3
    figure = new_figure(PANEL_WIDTH * panels, 4.8)
    distributions, against, *dreams = figure.subplots(1, panels)
    _distributions(distributions, values)
    found = outcome.figures() if outcome is not None else {}
    if outcome is None or "q_below_return" not in found:
        _nothing(against, "Value against return")
    else:
        _against(against, outcome.discounted_return, outcome.value, BLUE, f"{len(outcome.value)} states {outcome.span}")
        if outcome.of_worst.any():
            x, y = outcome.discounted_return[outcome.of_worst], outcome.value[outcome.of_worst]
            against.scatter(x, y, s=22, color=VERMILION, marker="v", linewidths=0, label=outcome.worst, zorder=3)
        finish(
            against,
            _below(found),
            "discounted return achieved from there",
            "Q of the action taken",
        )
    if dreams and (outcome is None or "dream_over_true_return" not in found):
        _nothing(dreams[0], "Dreamed against true return")
    elif dreams:
        assert outcome is not None
        label = f"{len(outcome.true_return)} starts, {outcome.steps} steps of the policy"
        _against(dreams[0], outcome.true_return, outcome.dream_return, GREEN, label)
        finish(
            dreams[0],
            f"All dreams promise {found['dream_over_true_return']:.2f} times the true return",
            f"return of {outcome.steps} steps in the environment",
            "in the model, from the same state",
        )
    return figure


def _below(found: dict[str, float]) -> str:
    """How often Q is below the return, in the failures first, and the mean difference."""
    worst = f"{found['q_below_return_in_worst']:.0%} of the worst, " if "q_below_return_in_worst" in found else ""
    below = f"Q below the return: {worst}{found['q_below_return']:.0%} of all"
    return f"{below}\nmean difference {found['q_minus_return']:+.1f}"


def _nothing(axes: Axes, title: str) -> None:
    axes.set_title(title)
    axes.text(0.5, 0.5, "no episode of the policy to show it on", ha="center", transform=axes.transAxes)


def _distributions(axes: Axes, values: Values) -> None:
    kinds = values.kinds()
    low = min(float(part.min()) for part in kinds.values())
    high = max(float(part.max()) for part in kinds.values())
    bins = np.linspace(low, max(high, low + 1e-3), 40)
    for name, part in kinds.items():
        colour = COLOURS[name]
        label = f"{name} pairs, mean {part.mean():.1f}"
        axes.hist(part, bins.tolist(), histtype="stepfilled", color=colour, alpha=0.35, density=True)
        axes.hist(part, bins.tolist(), histtype="step", color=colour, density=True, label=label, linewidth=1.5)
    finish(axes, "Values by kind of pair", "smaller of both Q(s, a), a discounted return", "density")


def _against(axes: Axes, x: Floats, y: Floats, colour: str, label: str) -> None:
    axes.scatter(x, y, s=14, color=colour, alpha=0.5, linewidths=0, label=label)
    ends = [min(float(x.min()), float(y.min())), max(float(x.max()), float(y.max()))]
    axes.plot(ends, ends, color=BLACK, linestyle="--", linewidth=1, label="equal")
