"""What was found to be the fastest on this machine, kept in a small file so that it is measured once."""

import contextlib
import json
import platform
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path

import torch

from combo_common.errors import UserError
from combo_common.files import write_atomically

FILE = "fastest.json"
"""In the data folder; without it all is measured anew."""


def machine(device: torch.device) -> dict[str, str]:
    """What measurements are of: another processor, version or number of threads may have others."""
    about = {"torch": torch.__version__, "device": device.type}
    if device.type == "cuda":
        return about | {"name": torch.cuda.get_device_name(device), "cudnn": str(torch.backends.cudnn.version())}
    return about | {
        "name": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": str(torch.get_num_threads()),
    }


@cache
def processor() -> str:
    """Family and model of the processor, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())  # the first processor's
    known = ("vendor_id", "model name", "cpu family", "model", "CPU implementer", "CPU part")  # the last two are Arm's
    return ", ".join(fields[name] for name in known if name in fields) or platform.machine()


class Choices:
    """Choices by name, of one device of this machine.

    What is of another machine or version, or damaged, does not count.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        """Keep them in a file of `folder`."""
        self.path, self.machine = folder / FILE, machine(device)
        self._key = json.dumps(self.machine, sort_keys=True)

    def get(self, name: str, known: Collection[str], measure: Callable[[], str]) -> str:
        """The choice of that name, one of the `known` ones, measured now if it was never before.

        Where the file can not be written, the choice holds for this run alone.
        """
        kept = self._read().get(self._key, {}).get(name)
        if kept is not None and kept in known:
            return kept
        chosen = measure()
        every = self._read()  # another run may have written since
        every.setdefault(self._key, {})[name] = chosen
        with contextlib.suppress(UserError):
            write_atomically(self.path, json.dumps(every, indent=1).encode())
        return chosen

    def _read(self) -> dict[str, dict[str, str]]:
        try:
            known = json.loads(self.path.read_text())
            return {
                str(key): {str(name): str(choice) for name, choice in choices.items()} for key, choices in known.items()
            }
        except (OSError, ValueError, AttributeError):
            return {}


def fastest(seconds: Mapping[str, float], margin: float = 0.05) -> str:
    """The first of the named times, unless another is shorter by more than a share `margin`: noise changes nothing."""
    usual = next(iter(seconds))
    best = min(seconds, key=lambda name: seconds[name])
    return best if seconds[best] < (1.0 - margin) * seconds[usual] else usual
