"""Scoring a policy in its environment: what this returns goes into logs and results, and never into training."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from combo_common.errors import UserError
from envs.task import ObservationSpec, Task
from envs.vector_env import CRASHED, SubprocessVectorEnv, SyncVectorEnv, described, make_vector_env
from latent_combo.evaluation.policy import Policy
from latent_combo.evaluation.score import Failure, PlayedEpisode, Score, median_episode
from latent_combo.evaluation.settings import ScoreConfig
from latent_combo.world_model.base import Segment

SAID = 3
"""Failed episodes that a line each names; a result names all."""


class Evaluator:
    """Plays seeded episodes with a policy, all agents and episodes in lockstep.

    The environments are made when they are first needed, and kept. What an episode gives depends on the policy and on
    the episode's seed, and not on the number that are played side by side (`Policy`).
    """

    def __init__(
        self, task: Task, observation_spec: ObservationSpec, num_agents: int, config: ScoreConfig, room: int = 0
    ) -> None:
        """Environments are made at once for `room` episodes of each of `num_agents` agents, or for more later."""
        self.task, self.observation_spec, self.num_agents, self.config, self.room = (
            task,
            observation_spec,
            num_agents,
            config,
            room,
        )
        self._copies: SyncVectorEnv | SubprocessVectorEnv | None = None
        self._room = 0

    def interim(self, policy: Policy, last: bool = False) -> Score:
        """Score as during training, on other episodes than the final score's.

        The last one, at the weights that the final score is of, plays as many as that: the two should agree.
        """
        config = self.config
        episodes = config.last_episodes if last else config.episodes_during_training
        return self.play(policy, config.seed_during_training, episodes)

    def final(self, policy: Policy, record: int = 0) -> Score:
        """Score as a run's result is, and keep the first `record` episodes of the first agent."""
        return self.play(policy, self.config.seed, self.config.episodes, record)

    def play(self, policy: Policy, seed: int, episodes: int, record: int = 0) -> Score:
        """Play the episodes `seed`, `seed` + 1, ... with each of the policy's agents.

        The first `record` of the first agent's are kept.

        Every agent meets the same starts. An environment that raises, or returns what is no observation or reward,
        costs that episode alone: it does not count, a line says which it was, and the others go on.
        """
        agents = policy.num_agents
        count, recorder = agents * episodes, _Recorder(min(record, episodes))
        if not count:
            nothing = np.zeros((agents, 0))
            return Score(nothing, None, None, nothing)
        failures: dict[int, Failure] = {}
        try:
            copies = self._environments(count)
            observation, vector, physics, failed = copies.reset([seed + i % episodes for i in range(count)])
        except Exception as error:  # where no environment can be made, too, the policy is kept
            reason = described(error)
            failures = {i: Failure(policy.agents[i // episodes], seed + i % episodes, 0, reason) for i in range(count)}
            self._report(failures, count)
            unplayed = np.full((agents, episodes), np.nan)
            return Score(unplayed, None, None, unplayed, None, tuple(failures.values()))

        def note_failures(step: int, wrong: NDArray[np.object_], counts: NDArray[np.bool_]) -> None:
            for i in np.flatnonzero((wrong != "") & counts).tolist():
                failures[i] = Failure(policy.agents[i // episodes], seed + i % episodes, step, str(wrong[i]))

        states, taken, lengths = [physics[:episodes]], list[NDArray[np.float32]](), np.zeros(episodes, np.int64)
        policy.reset(episodes, seed)
        recorder.begin(observation, vector)
        returns, last, alive = np.zeros(count), np.zeros(count), np.ones(count, bool)
        note_failures(0, failed, alive)
        alive &= failed == ""
        for step in range(self.task.horizon):
            seen, beside = (torch.from_numpy(part).unflatten(0, (agents, episodes)) for part in (observation, vector))
            actions = policy.act(seen, beside if beside.shape[-1] else None).flatten(0, 1).numpy()
            try:
                stepped, moved, reward, terminated, truncated, physics, failed = copies.step(actions)
            except UserError as error:  # of all processes
                note_failures(step, np.full(count, str(error), object), alive)
                break
            note_failures(step, failed, alive)
            alive &= failed == ""
            # An episode that has ended stays as it was; what its copy goes on to do counts for nothing.
            observation = np.where(alive.reshape(-1, *[1] * (observation.ndim - 1)), stepped, observation)
            vector = np.where(alive[:, None], moved, vector)
            returns += reward * alive
            last = np.where(alive, reward, last)
            states.append(np.where(alive[:episodes, None], physics[:episodes], states[-1]))
            recorder.note(observation, vector, actions, reward * alive, alive & terminated)
            taken.append(actions[:episodes])
            lengths[alive[:episodes]] = len(taken)
            alive &= ~(terminated | truncated)
            if not alive.any():
                break
        returns[list(failures)] = np.nan
        by_agent = returns.reshape(agents, episodes)
        told, ended = np.stack(states, 1), np.flatnonzero(np.isfinite(by_agent[0]))
        median = worst = None
        if len(ended):
            own = by_agent[0][ended]
            chosen = (int(ended[median_episode(own)]), int(ended[int(own.argmin())]))
            again = None if self.task.physics_dim else np.stack(taken, 1)
            median, worst = (
                PlayedEpisode(seed + i, told[i], None if again is None else again[i, : lengths[i]]) for i in chosen
            )
        self._report(failures, count)
        recorded = recorder.segment(ended)
        return Score(by_agent, median, worst, last.reshape(by_agent.shape), recorded, tuple(failures.values()))

    def _report(self, failures: dict[int, Failure], count: int) -> None:
        """Say which episodes do not count; copies that a crash took along are made anew for the next score."""
        if not failures:
            return
        print(f"{len(failures)} of {count} episodes ended with an error of the environment, and do not count:")
        for failure in list(failures.values())[:SAID]:
            print(f"  {failure}", flush=True)
        if any(failure.reason == CRASHED for failure in failures.values()):
            self.close()

    def _environments(self, count: int) -> SyncVectorEnv | SubprocessVectorEnv:
        """At least `count` copies."""
        if self._copies is None or self._room < count:
            self.close()
            self._room = max(count, self.num_agents * self.room)
            self._copies = make_vector_env(self.task, self.observation_spec, self._room, self.config.processes)
        return self._copies

    def close(self) -> None:
        """Free all environments."""
        if self._copies is not None:
            self._copies.close()
            self._copies = None


class _Recorder:
    """Keeps what the first few of all episodes saw, did and got."""

    def __init__(self, episodes: int) -> None:
        self.episodes = episodes
        self.seen: list[NDArray[Any]] = []
        self.vectors: list[NDArray[np.float32]] = []
        self.steps: list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]] = []

    def begin(self, observation: NDArray[Any], vector: NDArray[np.float32]) -> None:
        """Note the observations (N, ...) before the first step, and the vectors (N, V) beside them."""
        if self.episodes:
            self.seen.append(observation[: self.episodes].copy())
            self.vectors.append(vector[: self.episodes].copy())

    def note(
        self,
        observation: NDArray[Any],
        vector: NDArray[np.float32],
        action: NDArray[np.float32],
        reward: NDArray[np.float64],
        ended: NDArray[np.bool_],
    ) -> None:
        """Note a step of all N episodes; those that ended before have a reward of 0."""
        if self.episodes:
            kept = slice(self.episodes)
            self.seen.append(observation[kept].copy())
            self.vectors.append(vector[kept].copy())
            self.steps.append((action[kept], reward[kept].astype(np.float32), ended[kept]))

    def segment(self, ended: NDArray[np.int64]) -> Segment | None:
        """The episodes that `ended` as they should, in Dreamer indexing (B, T+1, ...); None where there are none."""
        kept = ended[ended < self.episodes]
        if not len(kept):
            return None
        columns = [torch.from_numpy(np.stack(column, 1)[kept]) for column in zip(*self.steps, strict=True)]
        action, reward, terminal = (torch.cat([torch.zeros_like(column[:, :1]), column], 1) for column in columns)
        is_first = torch.zeros_like(terminal)
        is_first[:, 0] = True
        seen, vector = (torch.from_numpy(np.stack(rows, 1)[kept]) for rows in (self.seen, self.vectors))
        return Segment(seen, action, reward, is_first, terminal, vector if vector.shape[-1] else None)
