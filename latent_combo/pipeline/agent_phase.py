"""The second phase: training the stack of agents in the latents, and looking at how they fare."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from combo_common.seeding import generator
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.batch import Noise
from latent_combo.agent.conservative import weighted_mean
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.replay import EncodedDataset, mixed_batch, real_share
from latent_combo.diagnostics.agent import show_values
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.evaluation.policy import Policy
from latent_combo.numerics.flops import count_flops
from latent_combo.pipeline.load_run import build_agent
from latent_combo.pipeline.session import Session
from latent_combo.runtime.speed import Meter
from latent_combo.world_model.base import WorldModel

PHASE = "agent"
UNSEEN = 0.1
"""Share of a value that may lie beyond the end of an episode that was cut off, where returns are compared with it."""
LAST_FIFTH = 0.8
"""Looks after this share of the updates tell whether the policy is stable."""


@dataclass
class Looks:
    """Scores during training; they are for people, and nothing of them reaches training."""

    steps: list[int] = field(default_factory=list)
    returns: list[list[float]] = field(default_factory=list)
    """Mean return of each agent, one list (S,) a look."""
    regularisers: list[float | None] = field(default_factory=list)
    """What each agent ended with; see `regularisers`."""

    def swing(self, updates: int, stack: int) -> list[float | None]:
        """Standard deviation over mean of each agent's looks in the last fifth of training; None without two."""
        late = [r for step, r in zip(self.steps, self.returns, strict=True) if step > LAST_FIFTH * updates]
        if len(late) < 2:
            return [None] * stack
        table = np.asarray(late)
        swings: list[float | None] = (table.std(0) / np.maximum(np.abs(table.mean(0)), 1e-8)).tolist()
        return swings


def fit_agent(
    session: Session, model: WorldModel, dataset: EncodedDataset, held_out: EncodedDataset, evaluator: Evaluator
) -> tuple[ConservativeActorCritic, Meter, Looks]:
    """Train, or go on where a checkpoint stands. Returns the agents, their speed, and the looks on the way."""
    config, device, seed = session.config.agent_fit, session.device, session.config.seed
    agent = build_agent(session.config, session.task, model.feature_dim, device)
    fit = AgentFit(agent, model, dataset, config, generator(seed, device, "agent"), session.config.cuda_graphs)
    looks = Looks()
    if saved := session.restore(PHASE, fit):
        looks = Looks(**saved["looks"])
    meter = Meter("updates", 1.0, _flops(agent, dataset), device)
    due = look_steps(config.updates, config.looks)
    clocks = session.clocks(config.updates)
    view = session.view_clock(config.updates)
    with session.progress("agent", config.updates, fit.step) as bar, session.keeping_bad_batches():
        while fit.step < config.updates:
            with session.timer.section(PHASE), meter.step():
                metrics = fit.take_step(report=clocks["log"](fit.step + 1))
            bar.update(1)
            log, save = (clocks[name](fit.step) for name in ("log", "save"))
            if log or save or fit.step in due or view(fit.step) or session.interrupt.requested:
                with session.timer.section(PHASE):
                    meter.wait(fit.capture_seconds)
                fit.check()
            if log:
                seen = {**metrics, **held_out_metrics(agent, held_out, seed)}
                session.report(PHASE, fit.step, seen, meter, bar, "q_data")
            if view(fit.step):
                with session.timer.section("views"):
                    draws = generator(seed, device, "views, values")
                    show_values(session.log.board, agent, model, dataset, config.horizon, fit.step, draws)
            if fit.step in due:
                with session.timer.section("looks"):
                    score = evaluator.interim(policy_of(session, model, agent), last=fit.step == config.updates)
                looks.steps.append(fit.step)
                looks.returns.append(score.returns.mean(1).tolist())
                session.log.write(PHASE, fit.step, {"score": torch.from_numpy(score.returns.mean(1))})
            if save or session.interrupt.requested:
                session.save(PHASE, {"fit": fit.state_dict(), "looks": vars(looks)})
            session.stop_if_asked()
    looks.regularisers = regularisers(fit)
    fit.close()
    return agent, meter, looks


def look_steps(updates: int, looks: int) -> set[int]:
    """When to look: half of the looks evenly over the first four fifths of training, half over the last."""
    early = np.linspace(0, LAST_FIFTH * updates, looks - looks // 2 + 1)[1:]
    late = np.linspace(LAST_FIFTH * updates, updates, looks // 2 + 1)[1:]
    return {int(step) for step in np.concatenate([early, late])} - {0}


def policy_of(session: Session, model: WorldModel, agent: ConservativeActorCritic) -> Policy:
    """The agents' policies, as they are at the moment and go on to be trained."""
    return Policy(model, agent.acting, agent.stack, session.config.seed, session.config.encode.sample)


@torch.no_grad()
def regularisers(fit: AgentFit, batches: int = 64) -> list[float | None]:
    """E_rho[Q(s, a)], a of the policy, less E_D[Q]: what the paper chooses settings by, the lower the better (B.2).

    The mean over many fresh batches, for each agent (S,): a single one is dominated by which states were drawn. None
    for agents without conservatism.
    """
    if fit.buffer is not None and not fit.buffer.filled:
        fit.roll_out()
    seen = [fit.agent.critic_loss(*fit.draw(warm=False)[:2])[1] for _ in range(batches)]
    if "regulariser" not in seen[0]:
        return [None] * fit.agent.stack
    means = torch.stack([metrics["regulariser"] for metrics in seen]).mean(0).tolist()
    return [mean if beta > 0.0 else None for mean, beta in zip(means, fit.agent.settings.beta.tolist(), strict=True)]


@torch.no_grad()
def held_out_metrics(agent: ConservativeActorCritic, held_out: EncodedDataset, seed: int) -> dict[str, Tensor]:
    """Values and the policy's likelihood on held-out pairs, (S,) each: where they part from training, it memorises.

    `held_out_squared_distance` is how far the policy's mode is from the behaviour's actions, and `held_out_gain` how
    much more the critics value it than those: E_D[min Q(s, mode) - min Q(s, a)].
    `held_out_return` is what the behaviour's discounted rewards came to after those of these pairs that tell (what is
    left at a time limit is discounted to `UNSEEN` or less), `held_out_told_q` the values of just those, and
    `held_out_excess` how far they lie above it. Values of a policy that is better than the behaviour lie above; those
    of critics that have not arrived, or that are conservative, below. What a time limit leaves out, up to `UNSEEN` of a
    value, counts as excess, and so does the entropy in the targets of "sac" and "mbpo". Needs no environment. All three
    are left out where no pair tells.
    """
    index, view = held_out.draw((agent.stack, 1024), generator(seed, held_out.source.device, "held out"))
    feature, action = held_out.pairs(index, view)
    policy = agent.acting(feature)

    def at(actions: Tensor) -> Tensor:
        values: Tensor = agent.critic(feature, actions[:, :, None]).squeeze(-1)
        return values  # (2, S, 1024)

    value = at(action).mean(0)
    metrics = {
        "held_out_q": value.mean(1),
        "held_out_log_prob": policy.log_prob(action).mean(1),
        "held_out_squared_distance": (policy.mode - action).square().sum(-1).mean(1),
        "held_out_gain": (at(policy.mode).amin(0) - at(action).amin(0)).mean(1),
    }
    tells = held_out.whole.discount[index] <= UNSEEN
    if not tells.any(1).all():
        return metrics
    reached = held_out.whole.reward[index]
    return metrics | {
        "held_out_told_q": weighted_mean(value, tells.float()),
        "held_out_return": weighted_mean(reached, tells.float()),
        "held_out_excess": weighted_mean(value - reached, tells.float()),
    }


def _flops(agent: ConservativeActorCritic, dataset: EncodedDataset) -> float:
    """Floating-point operations of one update, rollouts aside."""
    draws = generator(0, dataset.source.device, "flops")
    batch = mixed_batch(dataset, None, real_share(agent.real_rows, agent.config.batch, draws.device), draws)
    noise = Noise.draw(agent.stack, agent.config, agent.action_dim, draws)
    imitates = agent.config.extraction == "imitation"

    def work() -> None:
        torch.autograd.grad(agent.critic_loss(batch, noise)[0], agent.critic_parameters)
        policy_loss = agent.imitation_loss(batch, noise)[0] if imitates else agent.actor_loss(batch, noise)[0]
        torch.autograd.grad(policy_loss, agent.actor_parameters)

    return float(count_flops(work))
