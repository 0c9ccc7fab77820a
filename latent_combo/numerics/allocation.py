"""A bound on what is allocated while a network is built, whose sizes somebody else's settings name."""

from math import prod
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class TooLargeError(Exception):
    """More was about to be allocated than what is built can need."""


class BoundedAllocation(TorchDispatchMode):
    """While it is active, new tensors may have `most` bytes in all; what goes beyond is not allocated.

    Those that are as large as one that there is (`zeros_like`) don't count.
    """

    def __init__(self, most: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.left = most

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call an operation. Raises TooLargeError where it is to make a tensor that is too large."""
        sizes = args[0] if args and isinstance(args[0], (list, tuple)) else None
        if sizes is not None and all(isinstance(size, int) for size in sizes):
            self.left -= 4 * prod(sizes)
            if self.left < 0:
                raise TooLargeError(f"a tensor of {' x '.join(map(str, sizes))} numbers")
        return func(*args, **(kwargs or {}))
