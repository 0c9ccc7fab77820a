"""Stands for Ray: tasks are threads of this process, as many at a time as there are CPUs."""

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class FakeRay(ModuleType):
    """The functions of `ray` that this program calls."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.machine = {"NodeID": "n1", "Alive": True, "NodeManagerHostname": "one", "NodeManagerAddress": "10.0.0.1"}
        self.gpus, self.asked, self.placed = 0, dict[str, Any](), list[dict[str, Any]]()
        self.instead: Callable[[str, Callable[..., Any], tuple[Any, ...]], Any] | None = None
        """What a task does instead; it is given the name of its function, that, and its arguments."""
        self.ended = threading.Event()
        self.exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
        self.util = SimpleNamespace(get_node_ip_address=lambda: "10.0.0.1")

    def init(self, address: str, num_cpus: int = 2, **asked: Any) -> None:
        if address not in ("local", "auto"):
            raise ConnectionError("nobody answers\nthere")
        self.asked = {"address": address, "num_cpus": num_cpus, **asked}
        self.machine["Resources"] = {"CPU": num_cpus, "GPU": self.gpus}
        self.pool, self.free = ThreadPoolExecutor(32), threading.Semaphore(num_cpus)

    def shutdown(self) -> None:
        self.ended.set()
        self.__dict__.pop("pool", ThreadPoolExecutor(1)).shutdown()

    def cluster_resources(self) -> dict[str, float]:
        return self.machine["Resources"]  # type: ignore[return-value]

    def nodes(self) -> list[dict[str, Any]]:
        return [self.machine]

    def get_runtime_context(self) -> Any:
        return SimpleNamespace(get_node_id=lambda: "n1")

    def remote(self, work: Any) -> Any:
        return SimpleNamespace(options=lambda **named: SimpleNamespace(remote=self._begin(work, named)))

    def _begin(self, work: Any, named: dict[str, Any]) -> Callable[..., Any]:
        def make(*given: Any) -> Any:
            if not isinstance(work, type):
                self.placed.append(named)
                return self.pool.submit(self._run, work, given, named["num_cpus"] > 0)
            made = work(*given)
            done = {name: self._now(getattr(made, name)) for name in ("look", "ask")}
            return SimpleNamespace(**{name: SimpleNamespace(remote=call) for name, call in done.items()})

        return make

    def _run(self, work: Any, given: tuple[Any, ...], takes: bool) -> Any:
        with self.free if takes else mock.MagicMock():
            return work(*given) if self.instead is None else self.instead(work.__name__, work, given)

    def _now(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def answer(*given: Any) -> "Future[Any]":
            future = Future[Any]()
            future.set_result(call(*given))
            return future

        return answer

    def wait(self, futures: Any, num_returns: int = 1, timeout: float | None = None) -> tuple[list[Any], list[Any]]:
        when = "FIRST_COMPLETED" if num_returns == 1 else "ALL_COMPLETED"
        found = wait_for(futures, timeout, when)
        return list(found.done), list(found.not_done)

    def get(self, future: Any, timeout: float | None = None) -> Any:
        try:
            return future.result(timeout)
        except RayError:
            raise
        except Exception as error:
            raise RayTaskError(error) from error

    def cancel(self, future: Any) -> None:
        future.cancel()


@contextmanager
def fake_ray() -> Iterator[FakeRay]:
    """Ray is this, for all that is imported meanwhile."""
    ray = FakeRay()
    strategies = ModuleType("ray.util.scheduling_strategies")
    strategies.NodeAffinitySchedulingStrategy = lambda identity, soft: identity  # type: ignore[attr-defined]
    modules = {"ray": ray, "ray.util": ModuleType("ray.util"), "ray.util.scheduling_strategies": strategies}
    own = ("latent_combo.comparison.ray_scheduler", "latent_combo.comparison.ray_cluster")
    with mock.patch.dict(sys.modules, modules):
        for name in own:
            sys.modules.pop(name, None)
        try:
            yield ray
        finally:
            for name in own:
                sys.modules.pop(name, None)
