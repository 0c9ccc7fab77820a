"""What is measured of agents without any environment."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from combo_common.seeding import generator
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Batch, Noise
from latent_combo.agent.conservative import weighted_mean
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.offline import OfflineDataset
from latent_combo.agent.replay import mixed_batch, real_share
from latent_combo.numerics.flops import count_flops

BEYOND = "validation_q_beyond_reach"
"""The share of held-out pairs whose value is above `OfflineDataset.highest_value`."""
BIAS = "validation_q_bias"
"""How far the values of held-out pairs lie above the returns that followed them."""
UNSEEN = 0.1
"""Share of a value that may lie beyond the end of an episode that was cut off, where returns are compared with it."""


@torch.no_grad()
def regularisers(fit: AgentFit, batches: int = 64) -> list[float | None]:
    """E_rho[Q(s, a)], a of the policy, less E_D[Q]: what the paper chooses settings by, the lower the better (B.2).

    The mean over many fresh batches, for each agent (S,): a single one is dominated by which states were drawn. None
    for agents without conservatism.
    """
    if not bool((fit.agent.settings.beta > 0.0).any()):
        return [None] * fit.agent.num_agents
    if fit.buffer is not None and not fit.buffer.filled:
        fit.roll_out()
    drawn = (fit.draw(warm=False) for _ in range(batches))
    seen = [fit.agent.critic_loss(fit.agent.encoded(batch), noise)[1] for batch, noise, _ in drawn]
    means = torch.stack([metrics["regulariser"] for metrics in seen]).mean(0).tolist()
    return [mean if beta > 0.0 else None for mean, beta in zip(means, fit.agent.settings.beta.tolist(), strict=True)]


@torch.no_grad()
def validation_metrics(
    agent: ConservativeActorCritic, validation: OfflineDataset, seed: int, highest: float = math.inf
) -> dict[str, Tensor]:
    """Values and the policy's likelihood on held-out pairs, (S,) each: where they part from training, it memorises.

    A policy whose spread is not trained has no likelihood. `validation_q_beyond_reach` is the share of pairs whose
    value is above `highest`, which no value can exceed (but for the entropy in the targets of "sac" and "mbpo").
    `validation_squared_distance` is how far the policy's mode is from the behaviour's actions, and `validation_gain`
    how much more the critics value it than those: E_D[min Q(s, mode) - min Q(s, a)].
    A pair's return is complete where what an episode's time limit leaves out of it is discounted to `UNSEEN` or less.
    Over those pairs, `validation_return_complete` is the mean of the behaviour's discounted rewards from there on,
    `validation_q_complete` the mean of Q(s, a), and `validation_q_bias` the second less the first. The bias is
    positive for a policy that is better than the behaviour, and negative for critics that have not converged, or that
    are conservative. What a time limit leaves out, up to `UNSEEN` of a value, counts as bias, and so does the entropy
    in the targets of "sac" and "mbpo". Needs no environment. The three are left out where no return is complete.
    """
    index, view = validation.draw((agent.num_agents, 1024), generator(seed, validation.source.device, "held out"))
    seen, action = validation.pairs(index, view)
    policy, feature = agent.acting(seen), agent.encode(seen)

    def at(actions: Tensor) -> Tensor:
        values: Tensor = agent.critic(feature, actions[:, :, None]).squeeze(-1)
        return values  # (2, S, 1024)

    value = at(action).mean(0)
    likelihood = {"validation_log_prob": policy.log_prob(action).mean(1)} if agent.extraction.trains_spread else {}
    metrics = likelihood | {
        "validation_q": value.mean(1),
        BEYOND: (value > highest).float().mean(1),
        "validation_squared_distance": (policy.mode - action).square().sum(-1).mean(1),
        "validation_gain": (at(policy.mode).amin(0) - at(action).amin(0)).mean(1),
    }
    complete = validation.monte_carlo_returns.discount[index] <= UNSEEN
    if not complete.any(1).all():
        return metrics
    reached = validation.monte_carlo_returns.reward[index]
    return metrics | {
        "validation_q_complete": weighted_mean(value, complete.float()),
        "validation_return_complete": weighted_mean(reached, complete.float()),
        BIAS: weighted_mean(value - reached, complete.float()),
    }


def update_flops(
    agent: ConservativeActorCritic, dataset: OfflineDataset, penalised: Callable[[Batch], Batch] = lambda batch: batch
) -> float:
    """Floating-point operations of one update, rollouts aside; `penalised` is what is done to its batch at first."""
    draws = generator(0, dataset.source.device, "flops")
    real = real_share(agent.real_rows, agent.config.batch, draws.device)
    batch = mixed_batch(dataset, None, real, draws, next_actions=agent.extraction.needs_next_action)
    noise = Noise.draw(agent.num_agents, agent.config, agent.action_dim, draws)

    if (imagination := agent.imagination) is not None:  # whose random numbers are those of the fit
        agent.imagination = replace(imagination, generator=draws)

    def work() -> None:
        encoded = agent.encoded(penalised(batch))
        trained = [own for optimiser in agent.critic_optimisers for own in optimiser.parameters]
        torch.autograd.grad(agent.critic_loss(agent.extraction.critic_batch(agent, encoded), noise)[0], trained)
        torch.autograd.grad(agent.extraction.loss(agent, encoded.fixed(), noise)[0], agent.actor_parameters)
        if agent.behaviour is not None:
            cloned = agent.behaviour(encoded.fixed().feature).log_prob(batch.action).sum()
            torch.autograd.grad(cloned, list(agent.behaviour.parameters()))

    operations = float(count_flops(work))
    agent.imagination = imagination
    return operations
