"""Where a format's datasets lie under names of its own, and are fetched from."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar


class Store(ABC):
    """Datasets that are asked for by name, such as hopper-medium-v2; only `fetch` may use the network."""

    by_name: ClassVar[bool]
    """Whether errors and results call such a dataset by its name; otherwise by the path that it was fetched to."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Whether a name is of the form that this store gives."""

    @abstractmethod
    def may_hold_images(self, name: str) -> bool:
        """Whether there may be images under a name."""

    def task(self, name: str) -> str | None:
        """The task that a name of this store tells; None where its words tell it, as those of any name."""
        return None

    @abstractmethod
    def fetch(self, name: str, data_dir: Path) -> Path:
        """The file or folder of a dataset, fetched if it is not on this machine, and checked.

        Raises UserError where it cannot be fetched, or is not what it was.
        """

    def find(self, name: str, data_dir: Path) -> Path | None:
        """Where a dataset lies on this machine, unread; None where it is not here, or only `fetch` can tell."""
        return None

    def known(self) -> list[str]:
        """Names that a misspelt one may have meant."""
        return []
