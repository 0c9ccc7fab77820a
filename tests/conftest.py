"""What several test files use, made once.

What makes runs is imported where it is used: it takes torch, and the process that deals tests out to workers does
without.
"""

import fcntl
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs import gl

gl.choose_if_any()  # mujoco decides by it when it is imported, and tests import it by other ways than the project does


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a recording of three short episodes of random actions, `tiny`."""
    from toy_runs import record

    return record(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A finished run, one for all of pytest's workers; tests leave it as it is."""
    from toy_runs import record, short_episodes, toy

    from latent_combo.train import train

    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent
    out, made = shared / "runs" / "finished", shared / "made"
    with open(shared / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the first worker trains, the others wait
        if not made.exists():
            with short_episodes():
                train(toy(record(shared / "data"), out))
            made.touch()
    return out


@pytest.fixture
def short() -> Iterator[None]:
    """Episodes of the walker are short while a test runs."""
    from toy_runs import short_episodes

    with short_episodes():
        yield


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """What hears signals stays as it was: a command that ends leaves handlers of its own."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


@pytest.fixture
def hears_hangups() -> Iterator[None]:
    """SIGHUP is not ignored while a test runs, as it is under `nohup`."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.fixture
def blank_figures() -> Iterator[None]:
    """Figures stay blank while a test runs: that they are there is asked, and not how they look."""
    import toy_runs

    with toy_runs.blank_figures():
        yield
