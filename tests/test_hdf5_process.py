"""HDF5 files that crash libhdf5, or keep it busy for ever, end the process that looks at them first, and no other."""

import faulthandler
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import pytest
from damaged_files import HOPPER, hopper_columns, write_hdf5

from combo_common.errors import UserError
from combo_common.versions import ROOT
from data.formats.d4rl import read_d4rl
from data.safe import hdf5_process
from data.safe.hdf5_process import require_harmless

ENDS = {
    "os.kill(os.getpid(), signal.SIGSEGV)": r"libhdf5 crashes on it, SIGSEGV\); fetch or make it again",
    "sys.exit(3)": "libhdf5 crashes on it, exit code 3",
    "signal.setitimer(signal.ITIMER_PROF, 0.05)\nwhile True: pass": r"libhdf5 takes more than 0\.8 s for it",
    "print('\"too large\"', flush=True)": r"cannot be read as HDF5 \(too large\)",
}


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """A process of its own for each test."""
    hdf5_process._end()
    yield
    hdf5_process._end()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_hdf5(tmp_path / "hopper.hdf5", hopper_columns())


def dies_of(path: Path) -> bool:
    """Whether a process dies of a group in a file."""
    child = os.fork()
    if not child:
        faulthandler.disable()
        try:
            with h5py.File(path) as file:
                _ = file["infos"]["qpos"]
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) < 0


def test_a_group_whose_names_are_said_to_lie_elsewhere(path: Path) -> None:
    """libhdf5 2.0 dies of it; where another does not, the file is read or refused as any other."""
    content = bytearray(path.read_bytes())
    heap = content.rfind(b"HEAP")
    content[heap + 24 : heap + 32] = (4640).to_bytes(8, "little")
    path.write_bytes(content)
    if dies_of(path):
        with pytest.raises(UserError, match=r"hopper.hdf5 cannot be read as HDF5 \(libhdf5 crashes on it, SIGSEGV\)"):
            read_d4rl(path, HOPPER)
    else:
        require_harmless(path)
    whole = write_hdf5(path.with_name("whole.hdf5"), hopper_columns())
    assert len(read_d4rl(whole, HOPPER).lengths) == 2  # another process looks at the next one


@pytest.mark.parametrize("ending", ENDS)
def test_how_a_look_may_end(ending: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = path.with_name("program.py")
    program.write_text(f"import os, signal, sys\nprint('ready', flush=True)\nsys.stdin.readline()\n{ending}\n")
    with monkeypatch.context() as patched:
        patched.setattr(hdf5_process, "PROGRAM", program)
        with pytest.raises(UserError, match=ENDS[ending]) as refused:
            require_harmless(path)
        assert str(refused.value).startswith(str(path)) and "\n" not in str(refused.value)
        hdf5_process._end()
    require_harmless(path)


def test_an_answer_that_ctrl_c_kept_from_being_read_is_none_to_the_next_question(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, bad = path.with_name("program.py"), path.with_name("bad.hdf5")
    bad.write_bytes(path.read_bytes())
    program.write_text(
        "import json, sys\nprint('ready', flush=True)\n"
        "for line in sys.stdin: print(json.dumps('bad' * ('bad' in json.loads(line)[0])), flush=True)\n"
    )
    monkeypatch.setattr(hdf5_process, "PROGRAM", program)
    for begins in (0, 1):  # while it starts, and while it looks
        line, calls = hdf5_process._line, iter(range(9))

        def cut(*given: Any, begins: int = begins, line: Any = line, calls: Iterator[int] = calls) -> Any:
            if next(calls) == begins:
                raise KeyboardInterrupt
            return line(*given)

        hdf5_process._end()
        with monkeypatch.context() as patched:
            patched.setattr(hdf5_process, "_line", cut)
            with pytest.raises(KeyboardInterrupt):
                require_harmless(path)
        with pytest.raises(UserError, match=r"bad\.hdf5 cannot be read as HDF5 \(bad\)"):
            require_harmless(bad)
        require_harmless(path)


def test_a_process_that_ends_since_nothing_was_asked_says_nothing_of_a_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may do so between a question and its answer."""
    program = path.with_name("program.py")
    program.write_text(
        "import os, signal, sys\nfrom pathlib import Path\nprint('ready', flush=True)\nsys.stdin.readline()\n"
        "before = Path(__file__).with_name('before')\n"
        "if before.exists(): print('\"\"', flush=True)\n"
        "else: before.touch(), os.kill(os.getpid(), signal.SIGALRM)\n"
    )
    monkeypatch.setattr(hdf5_process, "PROGRAM", program)
    require_harmless(path)
    assert path.with_name("before").exists()


def test_it_is_bounded_and_stays_for_the_next_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require_harmless(path)
    first = hdf5_process._process
    assert first is not None
    (space,) = (line for line in Path(f"/proc/{first.pid}/limits").read_text().splitlines() if "address space" in line)
    assert 1 << 30 < int(space.split()[3]) < 8 << 30
    require_harmless(path)
    assert hdf5_process._process is first
    first.kill()
    first.wait()
    require_harmless(path)  # it may end whenever nothing was asked for a while
    assert hdf5_process._process is not first
    old = time.time() - 60.0
    os.utime(path, (old, old))
    settled = time.time_ns() + 60_000_000_000  # a file's own time of change can not be set
    monkeypatch.setattr(time, "time_ns", lambda: settled)
    require_harmless(path)
    monkeypatch.setattr(hdf5_process, "_asked", lambda *_: "it was looked at again")
    require_harmless(path)
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match="it was looked at again"):
        require_harmless(path)


def test_a_forked_process_has_another(path: Path) -> None:
    require_harmless(path)
    own = hdf5_process._process
    child = os.fork()
    if not child:
        code = 1
        try:
            require_harmless(path)
            code = int(hdf5_process._process is own)
            hdf5_process._end()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    require_harmless(path)
    assert hdf5_process._process is own


def test_it_ends_with_the_process_that_asked(path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from data.safe import hdf5_process as p\n"
        "p.require_harmless(Path(sys.argv[1])); print(p._process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    there = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True, env=there, check=False)
    assert done.returncode == -signal.SIGKILL
    looking, began = Path(f"/proc/{done.stdout.strip()}"), time.monotonic()
    while looking.exists() and looking.joinpath("stat").read_text().split(")")[1].split()[0] != "Z":
        assert time.monotonic() - began < 10.0
        time.sleep(0.01)
