"""One fit by several processes (`torchrun`): each computes its share of every batch, and gradients are averaged.

What is random is drawn for the whole batch by every process, from the same seed, so that the processes together take
the steps that one would take alone, up to the order of sums.
"""

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from combo_common.child_process import hear_of_parents_end
from combo_common.errors import UserError
from combo_common.interrupt import SIGNALS


@dataclass(frozen=True)
class Share:
    """Which rows of a batch are a process's own."""

    rank: int = 0
    processes: int = 1

    def whole(self, batch: int) -> int:
        """The size of the batch of which `batch` rows are a process's own."""
        return batch * self.processes

    def own(self, drawn: Tensor, dim: int = 0) -> Tensor:
        """A process's own rows of what was drawn for the whole batch."""
        return drawn.chunk(self.processes, dim)[self.rank]


WHOLE = Share()
"""Of the only process."""


def share_of_process() -> Share:
    """Which of the processes that `torchrun` started this is; `WHOLE` where it started none."""
    return Share(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")))


class Group:
    """The processes of a fit, of which this is one. The first alone writes, draws and says anything."""

    def __init__(self, share: Share) -> None:
        self.share = share

    @classmethod
    def joined(cls) -> "Group":
        """Join the processes that `torchrun` started. Raises UserError where they can't find one another.

        Each is asked to end (SIGTERM) when torchrun is gone, on Linux: it may be killed alone.
        """
        hear_of_parents_end(signal.SIGTERM)
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        try:
            distributed.init_process_group()
        except (RuntimeError, ValueError) as error:
            raise UserError(f"the processes of torchrun do not find one another: {_first_line(error)}") from error
        return cls(share_of_process())

    def tell(self, text: str) -> None:
        """Tell the other processes something; called by the first while the others call `told`."""
        letters = torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)
        self.take_over([torch.tensor(len(letters))])
        self.take_over([letters])

    def told(self) -> str:
        """What the first process tells; waits for it."""
        length = torch.zeros((), dtype=torch.int64)
        self.take_over([length])
        letters = torch.zeros(int(length), dtype=torch.uint8)
        self.take_over([letters])
        return bytes(letters.tolist()).decode()

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The means over the processes of tensors that each has, in one exchange.

        Raises UserError where another process has ended.
        """
        vector = torch.cat([tensor.flatten() for tensor in tensors])
        try:
            distributed.all_reduce(vector)
        except RuntimeError as error:
            raise UserError(f"another process of torchrun has ended: {_first_line(error)}") from error
        pieces = vector.div_(self.share.processes).split([tensor.numel() for tensor in tensors])
        return [piece.view_as(tensor) for piece, tensor in zip(pieces, tensors, strict=True)]

    def take_over(self, tensors: Sequence[Tensor]) -> None:
        """Give all processes the first one's tensors, in place."""
        for tensor in tensors:
            distributed.broadcast(tensor, 0)

    def leave(self) -> None:
        """Part, when nothing is left to be done together."""
        distributed.destroy_process_group()


def leave_signals_to_the_first() -> None:
    """Let Ctrl-C and its like reach the first process alone, which saves and ends, and with it what all share."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
