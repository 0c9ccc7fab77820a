"""A cluster of Ray: this machine alone, or one that runs already."""

import math
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from combo_common.errors import UserError
from data.simulate.workers import default_processes
from latent_combo.comparison.given import Resources
from latent_combo.comparison.ray_worker import check
from latent_combo.comparison.shared_folder import Asked

try:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ModuleNotFoundError as error:
    raise UserError('--backend ray needs Ray: pip install "latent-combo[ray]"') from error

__all__ = ["NodeAffinitySchedulingStrategy", "Share", "connected", "first_line", "ray", "require_machines"]
OBJECT_STORE = 80 * 2**20
"""Bytes of memory that Ray shares between processes: its least (75 MiB) and a little; runs share files only."""
ANSWER_WITHIN = 60.0
"""Seconds for each machine to say that it has what runs need."""


@dataclass(frozen=True)
class Share:
    """What a run has of a machine."""

    cpus: float
    gpus: float

    @property
    def threads(self) -> int:
        """Those of a run."""
        return max(1, int(self.cpus))

    def fits(self, resources: dict[str, float]) -> bool:
        """Whether a machine with these resources can take a run."""
        return resources.get("CPU", 0) >= self.cpus and resources.get("GPU", 0) >= self.gpus


@contextmanager
def connected(given: Resources, workers: int) -> Iterator[Share]:
    """Start Ray here, or connect to a cluster; what each run has there. `workers`: at a time, on this machine.

    Raises UserError where there is no such cluster, or where this machine has no room for a run.
    """
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)  # which Ray replaces
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        cpus = _start(given, workers)
        yield Share(cpus, _gpus(given, workers))
    finally:
        ray.shutdown()
        if main:
            signal.signal(signal.SIGTERM, before)


def _start(given: Resources, workers: int) -> float:
    """Start or connect; returns a run's number of CPUs."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if given.address is not None:
        try:
            ray.init(address=given.address, **quiet)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(
                f"--ray-address {given.address}: no cluster to use there ({reason}); start one with `ray start "
                "--head`, set RAY_AUTH_MODE=token where it asks for a token, or leave the option out"
            ) from error
        return 1.0 if given.cpus is None else given.cpus
    cpus = max(1, default_processes() // workers) if given.cpus is None else given.cpus
    ray.init(
        address="local",
        num_cpus=max(1, math.ceil(cpus * workers)),
        include_dashboard=False,
        object_store_memory=OBJECT_STORE,
        **quiet,
    )
    return cpus


def _gpus(given: Resources, workers: int) -> float:
    """A run's number of GPUs: 1 of a cluster's; here, as many as let `workers` runs be there at a time."""
    found = int(ray.cluster_resources().get("GPU", 0))
    if given.gpus is not None:
        if given.address is None and given.gpus > found:
            raise UserError(f"--gpus-per-run is {given.gpus:g}, but Ray finds {found} GPUs here; give at most that")
        return given.gpus
    if found == 0:
        return 0.0
    return 1.0 if given.address is not None else 1.0 / math.ceil(workers / found)


def require_machines(asked: Asked, share: Share) -> None:
    """Have every machine of the cluster show that it has what runs need, and say what the cluster has.

    Raises UserError that names the first one which doesn't.
    """
    machines = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    asking = ray.remote(check)
    answers = {
        asking.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(identity, soft=False)
        ).remote(asked, f".{identity}"): identity
        for identity in machines
    }
    ready, silent = ray.wait(list(answers), num_returns=len(answers), timeout=ANSWER_WITHIN)
    for answer in ready:
        node = machines[answers[answer]]
        lacks = _said(answer)
        if not lacks and not asked.answered(f".{answers[answer]}"):
            lacks = f"does not share {asked.folder} with this one: what it writes there is not here"
        if lacks:
            raise UserError(f"machine {_named(node)} {lacks}")
    if silent:
        raise UserError(
            f"machine {_named(machines[answers[silent[0]]])} does not answer for {ANSWER_WITHIN:.0f} s; take it out "
            "of the cluster, or see its logs in /tmp/ray"
        )
    have = {name: sum(node["Resources"].get(name, 0) for node in machines.values()) for name in ("CPU", "GPU")}
    print(
        f"ray         {len(machines)} machine(s), {have['CPU']:g} CPUs, {have['GPU']:g} GPUs; "
        f"each run has {share.cpus:g} CPUs, {share.gpus:g} GPUs",
        flush=True,
    )
    if not any(share.fits(node["Resources"]) for node in machines.values()):
        print("ray         no machine has room for a run now; runs wait for one that joins", flush=True)


def _said(answer: Any) -> str:
    """What a machine says that it lacks; empty, too, where it has left meanwhile."""
    try:
        return str(ray.get(answer))
    except ray.exceptions.RayTaskError as error:
        return f"can not import this program ({first_line(error.cause)}); install the same version there"
    except ray.exceptions.RayError:
        return ""


def _named(node: dict[str, Any]) -> str:
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"


def first_line(error: BaseException) -> str:
    """An error's kind, and the first line that it says."""
    said = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {said}"
