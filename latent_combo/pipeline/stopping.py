"""How a run ends before its end: what a line says then."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from combo_common.commands import command
from combo_common.errors import StoppedError
from latent_combo.runtime.run_folder import SETTINGS


@contextmanager
def saying_how_to_go_on(run: Path) -> Iterator[None]:
    """Turn a signal that stops the body at once into StoppedError, with the command that goes on.

    Where it does, all that was done since the last checkpoint can be done again, and comes to the same.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if not (run / SETTINGS).exists():
            raise StoppedError("stopped before there was anything to save; begin again by the same command") from error
        raise StoppedError(f"stopped and saved; continue with: {command('train', '--resume', run)}") from error
