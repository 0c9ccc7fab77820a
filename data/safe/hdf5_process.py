"""HDF5 files are looked at by a process of its own before this one reads them: libhdf5 crashes on some damaged ones.

That process (`hdf5_child`) is started for the first file, in some 0.3 s, and kept for the next ones, which take a
millisecond each. It ends with this process, and after a minute without a file.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from combo_common.errors import UserError

PROGRAM = Path(__file__).with_name("hdf5_child.py")
SECONDS, SECONDS_PER_BYTE = 0.8, 3e-6
"""Processor time that a look may take. A group takes some 0.1 ms, and no fewer than 100 bytes."""
PATIENCE = 60.0
"""Seconds more than ten times that until a process counts as stuck that gets no processor, or waits for a disk."""
SETTLED_NS = 2_000_000_000
"""Nanoseconds after which a file that was altered again has another time."""
IDLE = -signal.SIGALRM
"""Exit code of the process where nothing was asked for a while."""
TIMES = 3
"""That a file is asked about, where the process ends before it has looked."""
Known = tuple[str, int, int, int, int, int]

_lock = threading.Lock()
_process: "subprocess.Popen[bytes] | None" = None
_of: int = 0
"""The process that started it: one that is forked from that starts another."""
_sound: set[Known] = set()


def require_harmless(path: Path) -> None:
    """Raise UserError for a file that crashes libhdf5, or takes it long or much memory; any other passes, read or not.

    A file that has not changed since is not looked at again.
    """
    try:
        about = path.stat()
    except OSError:
        return  # the reader says what is wrong
    known = (str(path.absolute()), about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
    if known in _sound or not path.is_file():
        return
    with _lock:
        wrong = _asked(str(path.absolute()), SECONDS + SECONDS_PER_BYTE * about.st_size)
    if wrong:
        raise UserError(f"{path} cannot be read as HDF5 ({wrong}); fetch or make it again")
    if time.time_ns() - max(about.st_mtime_ns, about.st_ctime_ns) > SETTLED_NS:
        _sound.add(known)


def _asked(path: str, seconds: float) -> str:
    """What the process says of a file; empty where nothing is wrong."""
    try:
        for _ in range(TIMES):
            process, asked = _started(), False
            assert process.stdin is not None
            answer: bytes | None = b""
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps([path, seconds]).encode() + b"\n")
                process.stdin.flush()
                asked, answer = True, _line(process, 10.0 * seconds + PATIENCE)
            if answer:
                return str(json.loads(answer))
            code = None if answer is None else _end()
            if asked and code != IDLE:
                break  # else it ended just now, since nothing was asked, and this says nothing of the file
    except BaseException:  # Ctrl-C: what it has not answered would be taken for the answer to the next question
        _end()
        raise
    if code is None:
        _end()
    if code is None or code == -signal.SIGPROF:
        return f"libhdf5 takes more than {seconds:.1f} s for it"
    return f"libhdf5 crashes on it, {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def _started() -> "subprocess.Popen[bytes]":
    """The process, which is ready. Raises UserError where it can't be started."""
    global _process, _of
    if _process is not None and _of == os.getpid() and _process.poll() is None:
        return _process
    if _of == os.getpid():
        _end()
    command = [sys.executable, "-P", str(PROGRAM)]
    try:
        _process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        raise UserError(f"no process can be started to look at HDF5 files ({error.strerror}): {command}") from error
    _of = os.getpid()
    if not _line(_process, PATIENCE):
        raise UserError(f"the process that looks at HDF5 files ends with exit code {_end()}: {' '.join(command)}")
    return _process


def _line(process: "subprocess.Popen[bytes]", seconds: float) -> bytes | None:
    """A line that it prints; empty where it has ended, and None where none comes in time."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], seconds)[0]:
        return None
    line: bytes = process.stdout.readline()
    return line


def _end() -> int:
    """End the process; returns its exit code, which is negative for a signal."""
    global _process
    process, _process = _process, None
    if process is None:
        return 0
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    try:
        return process.wait(1.0)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _unlock() -> None:
    global _lock
    _lock = threading.Lock()  # whoever held it in the process before is not in this one


os.register_at_fork(after_in_child=_unlock)


@atexit.register
def _end_with_this_process() -> None:
    if _of == os.getpid():
        _end()
