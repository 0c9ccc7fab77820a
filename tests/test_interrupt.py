"""Ctrl-C and other requests to end: where they wait, where they do not, and what they leave whole."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from combo_common import interrupt as module
from combo_common import streams
from combo_common.cli import run_cli
from combo_common.interrupt import SIGNALS, Interrupt, held

pytestmark = pytest.mark.usefixtures("hears_hangups")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the clock shows, to be set."""
    shown = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: shown[0])
    return shown


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_waits_and_the_second_does_not(number: signal.Signals, clock: list[float]) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert not interrupt.requested
        signal.raise_signal(number)
        assert interrupt.requested
        clock[0] += 1.0
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_what_a_group_gets_and_what_is_forwarded_is_one_request(clock: list[float]) -> None:
    with Interrupt():
        for number in SIGNALS:
            signal.raise_signal(number)
            clock[0] += 0.02


def test_where_signals_do_not_wait_the_first_is_raised(clock: list[float]) -> None:
    with Interrupt(at_once=True) as interrupt:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert interrupt.requested
    with Interrupt(at_once=True) as interrupt:
        with interrupt.waiting():
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt), interrupt.at_once():
                pytest.fail("what takes long was begun, though it was to end")
        with interrupt.waiting(), pytest.raises(KeyboardInterrupt):
            clock[0] += 1.0
            signal.raise_signal(signal.SIGTERM)


def test_a_second_signal_waits_for_what_must_not_be_done_by_half(clock: list[float]) -> None:
    done = []
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        clock[0] += 1.0
        with pytest.raises(KeyboardInterrupt), held():
            with held():
                signal.raise_signal(signal.SIGINT)
            done.append("saved")
        with held():  # it was raised once
            assert interrupt.requested
    assert done == ["saved"]


def test_what_takes_long_within_what_is_held_is_stopped_all_the_same() -> None:
    done = []
    with Interrupt() as interrupt, held():
        with pytest.raises(KeyboardInterrupt), interrupt.at_once():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("noted")
    assert done == ["noted"]


def test_held_says_nothing_of_other_threads() -> None:
    with Interrupt() as interrupt:
        inside, seen = threading.Event(), threading.Event()

        def work() -> None:
            with held():
                inside.set()
                seen.wait(10)

        thread = threading.Thread(target=work)
        thread.start()
        assert inside.wait(10)
        with pytest.raises(KeyboardInterrupt), interrupt.at_once():
            signal.raise_signal(signal.SIGINT)
        seen.set()
        thread.join()


@pytest.mark.parametrize("number", SIGNALS)
def test_a_command_ends_with_one_code_by_any_of_them(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        os.kill(os.getpid(), number)
        signal.pause()

    with pytest.raises(SystemExit) as ended:
        run_cli(main)
    assert ended.value.code == 130 and capsys.readouterr().err == "interrupted\n"


HEARS = """
import select, sys
from combo_common.cli import run_cli
from combo_common.errors import StoppedError
from combo_common.interrupt import Interrupt

def main():
    with Interrupt() as interrupt:
        print("ready", flush=True)
        while not interrupt.requested:
            select.select([], [], [], 0.02)
        assert sys.argv[2] == "none" or sys.stdin.readline() == "gone\\n"
        for stream in (sys.stdout, sys.stderr):
            print("saving", file=stream, flush=True)
    with open(sys.argv[1], "w") as file:
        file.write("saved")
    raise StoppedError("go on with this")

"""
IN_A_TERMINAL = "import fcntl, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0)\n"


@pytest.mark.parametrize("hint", [True, False], ids=["a signal of the shell's first", "the kernel's alone"])
def test_a_run_whose_terminal_is_closed_saves_and_ends_as_for_ctrl_c(hint: bool, tmp_path: Path) -> None:
    """As when a window is closed or a connection is lost: what it says then is written to no terminal."""
    ours, its = os.openpty()
    program = f"{IN_A_TERMINAL}{HEARS}run_cli(main)"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "saved"), "asked" if hint else "none"],
        stdin=subprocess.PIPE,
        stdout=its,
        stderr=its,
        start_new_session=True,
        text=True,
    )
    os.close(its)
    assert os.read(ours, 100).split() == [b"ready"]
    if hint:
        process.send_signal(signal.SIGHUP)
    os.close(ours)
    process.communicate("gone\n" if hint else "", timeout=20)
    assert process.returncode == 130 and (tmp_path / "saved").read_text() == "saved"


def test_a_run_whose_log_is_read_by_what_ctrl_c_ends_first_saves_and_ends(tmp_path: Path) -> None:
    """As `train 2>&1 | tee log`: tee hears Ctrl-C as well."""
    ours, its = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", f"{HEARS}run_cli(main)", str(tmp_path / "saved"), "asked"],
        stdin=subprocess.PIPE,
        stdout=its,
        stderr=its,
        text=True,
    )
    os.close(its)
    assert os.read(ours, 100).split() == [b"ready"]
    process.send_signal(signal.SIGINT)
    os.close(ours)
    process.communicate("gone\n", timeout=20)
    assert process.returncode == 130 and (tmp_path / "saved").read_text() == "saved"


def test_a_pager_that_is_closed_ends_a_command() -> None:
    ours, its = os.pipe()
    program = f"import sys\n{HEARS}def main():\n    sys.stdin.readline()\n    print('more', flush=True)\nrun_cli(main)"
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=its, text=True)
    os.close(its)
    os.close(ours)
    process.communicate("gone\n", timeout=20)
    assert process.returncode == 141


def test_nohup_keeps_a_closed_terminal_from_ending_a_run(clock: list[float]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupt.requested
            signal.raise_signal(signal.SIGTERM)
            assert interrupt.requested
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("place", "code"), [("/dev/full", 2), ("pipe", 141)])
def test_output_that_is_not_flushed_by_a_command_is_not_lost_in_silence(place: str, code: int) -> None:
    ours, its = os.pipe() if place == "pipe" else (os.open(os.devnull, os.O_RDONLY), os.open(place, os.O_WRONLY))
    os.close(ours)
    program = "from combo_common.cli import run_cli\nrun_cli(lambda: print('x' * 50))"
    done = subprocess.run([sys.executable, "-c", program], stdout=its, stderr=subprocess.PIPE, text=True)
    os.close(its)
    assert done.returncode == code and ("free some space" in done.stderr) == (code == 2)


def test_a_stream_that_is_not_buffered_stays_so() -> None:
    program = "import os\nfrom combo_common.cli import run_cli\nrun_cli(lambda: [print('x'), os._exit(0)])"
    for unbuffered, out in (("", ""), ("1", "x\n")):
        own = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=own)
        assert (done.returncode, done.stdout, done.stderr) == (0, out, "")


@pytest.mark.skipif(sys.platform != "linux", reason="writes to it fail as of a disk that fails")
def test_a_disk_that_fails_is_no_terminal_that_is_closed() -> None:
    with open("/proc/self/mem", "r+b", buffering=0) as file:
        stream = streams._Unread(file.fileno(), lambda: True)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            stream.write(b"some")


@pytest.mark.parametrize("ending", ["pass", "raise UserError('it is wrong')"])
def test_a_signal_while_the_interpreter_ends_changes_no_exit_code(ending: str) -> None:
    """It sets handlers back to what ends a process at once, and by the signal's number. Ctrl-C still ends a hang."""
    program = (
        "import os\n"
        "from combo_common.cli import run_cli\n"
        "from combo_common.errors import UserError\n"
        "from combo_common.interrupt import SIGNALS\n"
        "class Late:\n"
        "    def __del__(self):\n"
        "        [os.kill(os.getpid(), number) for number in SIGNALS[1:]]\n"
        "        print('ends', flush=True)\n"
        "late = Late()\n"
        "def main():\n"
        f"    {ending}\n"
        "run_cli(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0 if ending == "pass" else 2, "ends\n")


def test_a_signal_while_a_command_ends_changes_neither_its_exit_code_nor_what_it_says() -> None:
    """What was being worked on is ended last, which may take a while."""
    program = (
        "import os\n"
        "from combo_common.cli import run_cli\n"
        "from combo_common.errors import StoppedError\n"
        "from combo_common.interrupt import SIGNALS\n"
        "def work():\n"
        "    try:\n"
        "        yield\n"
        "    finally:\n"
        "        [os.kill(os.getpid(), number) for number in SIGNALS]\n"
        "def main():\n"
        "    worked = work()\n"
        "    next(worked)\n"
        "    raise StoppedError('go on with this')\n"
        "run_cli(main)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "go on with this\n")


def test_a_command_that_still_imports_ends_with_a_line() -> None:
    program = (
        "import os, signal; from combo_common.interrupt import end_at_once; end_at_once(130);"
        "os.kill(os.getpid(), signal.SIGTERM)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
