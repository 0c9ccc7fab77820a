"""The second phase: training the stack of agents, in the latents (algorithm 1) or on frames."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from combo_common.errors import UserError
from combo_common.seeding import generator
from latent_combo.agent.actor_critic import ConservativeActorCritic
from latent_combo.agent.algorithms import ALGORITHMS
from latent_combo.agent.fit import AgentFit
from latent_combo.agent.frames import FrameStack
from latent_combo.agent.measures import BIAS, regularisers, update_flops, validation_metrics
from latent_combo.agent.offline import OfflineDataset
from latent_combo.agent.penalties.known import penalty_of
from latent_combo.agent.selection import choose
from latent_combo.config.schema import Config
from latent_combo.evaluation.evaluator import Evaluator
from latent_combo.evaluation.interim import InterimScores, evaluation_steps
from latent_combo.evaluation.policy import Policy
from latent_combo.pipeline.beyond import BeyondReach
from latent_combo.pipeline.build import build_agent
from latent_combo.pipeline.loop import Callback, Phase, train_phase
from latent_combo.pipeline.session import Session
from latent_combo.runtime.renamed import result_now
from latent_combo.runtime.speed import Meter
from latent_combo.world_model.base import WorldModel

PHASE = "agent"


@dataclass(frozen=True)
class Trained:
    """What the phase comes to."""

    agent: ConservativeActorCritic
    meter: Meter
    """Its speed."""
    evaluations: InterimScores
    regularisers: list[float | None]
    """What each agent ended with; see `measures.regularisers`."""
    beyond_reach: list[float]
    """Share of held-out pairs whose values no rewards could come to, of each agent at the end."""
    minus_returns: list[float | None]
    """How far the values of held-out pairs lie above the returns that followed, of each agent at the end; None where no
    return is complete."""


def fit_agent(
    session: Session,
    model: WorldModel | FrameStack,
    dataset: OfflineDataset,
    validation: OfflineDataset,
    evaluator: Evaluator,
    callbacks: Sequence[Callback[ConservativeActorCritic]] = (),
) -> Trained:
    """Train, or go on where a checkpoint stands.

    The evaluator plays interim episodes, which are for people only. Raises what `train_phase` does.
    """
    config, device, seed = session.config.agent_fit, session.device, session.config.seed
    agent = build_agent(session.config, session.task, model, device)
    fit = begin(session.config, agent, model, dataset, device)
    evaluations, at_end = InterimScores(), list[float | None]()
    saved = session.restore(PHASE, fit)
    if saved is not None:
        evaluations = InterimScores.read(result_now(saved)["evaluations"])
        at_end = list(saved.get("regularisers", []))  # which older versions left out, as the speed

    beyond = BeyondReach(session.config, dataset)

    def score_interim(agent: ConservativeActorCritic, step: int) -> None:
        with session.interrupt.at_once():
            score = evaluator.interim(policy_of(session, model, agent), last=step == config.updates)
        if not score.played.any(1).all():
            return  # the evaluator has said why
        evaluations.add(step, np.nanmean(score.returns, 1).tolist())
        session.log.write(PHASE, step, {"score": torch.tensor(evaluations.returns[-1])})

    def note_regularisers() -> None:
        # before a checkpoint that leaves out what was imagined: a run that goes on chooses the same agent
        if fit.done() and not at_end:
            at_end.extend(regularisers(fit))

    def state() -> dict[str, Any]:
        note_regularisers()
        return {"evaluations": asdict(evaluations), "regularisers": at_end}

    played = session.config.score.episodes > 0
    due = evaluation_steps(config.updates, config.evaluations) if played else set()
    meter = Meter("updates", 1.0, update_flops(agent, dataset, fit.penalised), device)
    meter.load_state_dict((saved or {}).get("meter", {}))
    train_phase(
        session,
        Phase(
            PHASE,
            "agent",
            agent,
            fit,
            config.updates,
            meter,
            "q_data",
            [*callbacks, Callback(due.__contains__, score_interim, "evaluations")],
            measure=lambda: beyond.look(validation_metrics(agent, validation, seed, beyond.highest)),
            finish=note_regularisers,
            state=state,
        ),
    )
    held_out = beyond.look(validation_metrics(agent, validation, seed, beyond.highest))  # as they are at the end
    over = held_out[BIAS].tolist() if BIAS in held_out else [None] * agent.num_agents
    trained = Trained(agent, meter, evaluations, at_end or regularisers(fit), beyond.shares, over)
    fit.close()
    return trained


def begin(
    config: Config,
    agent: ConservativeActorCritic,
    model: WorldModel | FrameStack,
    dataset: OfflineDataset,
    device: torch.device,
) -> AgentFit:
    """The fit of a run's agents from its first update, with all that its algorithm has besides settings."""
    penalty, draws = penalty_of(ALGORITHMS[config.algorithm]), generator(config.seed, device, "agent")
    imagined = None if isinstance(model, FrameStack) else model
    return AgentFit(agent, imagined, dataset, config.agent_fit, draws, config.cuda_graphs, penalty=penalty)


def policy_of(
    session: Session, model: WorldModel | FrameStack, agent: ConservativeActorCritic, first: int = 0
) -> Policy:
    """The agents' policies, as they are at the moment and go on to be trained; numbered from `first` on."""
    return Policy(model, agent.acting, agent.num_agents, session.config.seed, session.config.encode.sample, first)


def selected_of(session: Session, trained: Trained) -> tuple[ConservativeActorCritic, int | None]:
    """What is scored: the agent that the offline rule chooses, alone, and its number; or all agents, and None.

    Raises UserError where a regulariser is not finite.
    """
    if not session.config.select:
        return trained.agent, None
    try:
        chosen = choose(trained.regularisers)
    except ValueError as error:
        raise UserError(str(error)) from error
    return trained.agent.alone(chosen, session.config.agent.members()[chosen]), chosen


def evaluator_of(session: Session) -> Evaluator:
    """What a run's agents are scored by, with room for its longest evaluation; close it."""
    config = session.config
    room = config.score.most_episodes
    return Evaluator(session.task, config.observation_spec, config.agent.num_agents, config.score, room)
