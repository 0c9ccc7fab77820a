"""Steps that run as one CUDA graph: launched at once, instead of kernel by kernel.

A training step of many small kernels spends its time on launching them. A graph of it is recorded once and replayed,
with the same random numbers and the same kernels, but for the algorithms that cuDNN finds fastest while it warms up. On
a CPU, or where a graph can not be had, the same step runs as it is written.
"""

import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from combo_common.errors import UserError

WARM_UPS = 3
"""Steps before a capture, in which libraries choose their kernels and take their workspaces."""

Result = TypeVar("Result")


class CapturedStep(Generic[Result]):
    """A function without arguments that works on tensors in place, captured at its first call.

    What it returns lives in the graph's memory, and is written anew by every call.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Result],
        changed: Callable[[], Sequence[Tensor]],
        generator: torch.Generator,
        graphs: str = "auto",
        pool: "MemoryPool | None" = None,
    ) -> None:
        """Name the step for messages.

        `work` may read nothing of the device; `changed` are the tensors that it changes, which are put back after the
        warm-up; `generator` is the one that it draws from. Steps that share a `pool` must never run at once. Raises
        UserError where `graphs` is "on" and the generator's device is no GPU.
        """
        self.name, self.work, self.changed, self.generator, self.graphs = name, work, changed, generator, graphs
        self.pool = MemoryPool() if pool is None else pool
        self.capture_seconds = 0.0
        """Seconds that warming up and capturing took."""
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Any = None
        self._eager = graphs == "off" or generator.device.type != "cuda"
        if graphs == "on" and self._eager:
            raise UserError("cuda_graphs is on, but the device is a CPU, which has none; use --cuda_graphs auto")

    @property
    def captured(self) -> bool:
        """Whether it runs as a graph."""
        return self._graph is not None

    def __call__(self) -> Result:
        """Replay the graph, capturing it at the first call, or run the step as it is written.

        Raises UserError where `graphs` is "on" and it can not be captured.
        """
        if self._eager:
            return self.work()
        if self._graph is None and not self._capture():
            return self.work()
        assert self._graph is not None
        self._graph.replay()
        result: Result = self._result
        return result

    def close(self) -> None:
        """Let go of the graph and of what it works on."""
        self.launch_one_by_one()
        self.pool.steps.clear()
        del self.work, self.changed

    def launch_one_by_one(self) -> None:
        """Run as it is written from now on."""
        self._graph, self._result, self._eager = None, None, True

    def _capture(self) -> bool:
        """Capture the step; returns whether that worked, and raises UserError where it has to."""
        started = time.perf_counter()
        before = [tensor.clone() for tensor in self.changed()]
        random = self.generator.get_state()
        stream, graph = self.pool.stream(), torch.cuda.CUDAGraph()
        with warnings.catch_warnings():  # from torch 2.14 on generators register themselves, and this says so
            warnings.simplefilter("ignore")
            graph.register_generator_state(self.generator)
        stream.wait_stream(torch.cuda.current_stream())
        # cuDNN tries its algorithms in the warm-up, unless results are to be the same whatever it finds
        choosing = torch.backends.cudnn.flags(
            enabled=True,
            benchmark=not torch.backends.cudnn.deterministic,
            deterministic=torch.backends.cudnn.deterministic,
            allow_tf32=torch.backends.cudnn.allow_tf32,
        )
        try:
            with choosing:
                with torch.cuda.stream(stream):
                    for _ in range(WARM_UPS):
                        self.work()
                # other threads, as the one that gathers batches, may go on meanwhile
                with torch.cuda.graph(graph, self.pool.handle(), stream, capture_error_mode="thread_local"):
                    result = self.work()
        except RuntimeError as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            self._free_generators(random)
            for step in self.pool.steps:  # what was captured before would draw from the generator's old state
                step.launch_one_by_one()
        else:
            reason = ""
            self._graph, self._result = graph, result
            self.pool.steps.append(self)
            self.generator.set_state(random)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.no_grad():
            for tensor, value in zip(self.changed(), before, strict=True):
                tensor.copy_(value)
        if reason and self.graphs == "on":
            raise UserError(f"{self.name} can not be captured: {reason}; use --cuda_graphs auto")
        if reason:
            print(
                f"{self.name} can not be captured ({reason}); its kernels are launched one by one, which is slower",
                file=sys.stderr,
            )
            self.launch_one_by_one()
        self.capture_seconds += time.perf_counter() - started
        return self.captured

    def _free_generators(self, random: Tensor) -> None:
        """Give generators a state of their own: a capture that broke off would still have them, torch's default too."""
        device = self.generator.device
        default = torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]
        for generator, state in ((self.generator, random), (default, default.get_state())):
            fresh = torch.Generator(device)
            fresh.set_state(state)
            generator.graphsafe_set_state(fresh)


class MemoryPool:
    """The memory of graphs that never run at once, and the stream that they are captured on.

    Memory is shared on one stream only, and so is what cuBLAS works in: graphs that may run at once are given pools of
    their own. A graph's results stay as they are while another runs, for they are held from one call to the next.
    """

    def __init__(self) -> None:
        self.steps: list[CapturedStep[Any]] = []
        """Those that were captured."""
        self._handle: Any = None
        self._stream: torch.cuda.Stream | None = None

    def handle(self) -> Any:
        """What torch knows it by; made at the first call, for which a GPU is needed."""
        if self._handle is None:
            self._handle = torch.cuda.graph_pool_handle()
        return self._handle

    def stream(self) -> torch.cuda.Stream:
        """The stream; made at the first call."""
        if self._stream is None:
            self._stream = torch.cuda.Stream()
        return self._stream
