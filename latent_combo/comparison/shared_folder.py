"""Whether a machine has what the runs of a comparison need: the same folder, the same locks and the same program."""

import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from combo_common.files import writing
from latent_combo.comparison.fingerprint import code
from latent_combo.pipeline.origin import differing, packages

PREFIX = ".shared-"
"""How the names of a check's files begin, in the folder of the comparison."""
OF_RUNS = ("LATENT_COMBO_", "MUJOCO_", "PYOPENGL_", "OMP_", "MKL_", "OPENBLAS_", "LP_NUM_")
"""How the names begin of the environment's variables that runs have from whoever asked for them."""


@dataclass(frozen=True)
class Asked:
    """What a machine is asked to have; plain data, made by `asking` where the comparison was asked for."""

    folder: str
    """The comparison's, an absolute path."""
    working_folder: str
    token: str
    """The name of a locked file in the folder, and what it holds."""
    code: str
    """SHA-256 of the program's source."""
    versions: Mapping[str, str]
    """Of Python and of the packages that results depend on."""
    environment: Mapping[str, str]
    """Variables of the runs."""

    def missing(self, answer: str = "") -> str:
        """What this machine lacks, for people, after "the machine"; empty where it has all.

        With an `answer`, a file of that suffix is written beside the token, for the one who asks to see.
        """
        token = Path(self.folder) / self.token
        if not Path(self.working_folder).is_dir():
            return f"has no folder {self.working_folder}, where this command was given"
        try:
            if token.read_text() != self.token:
                return f"has another file than this machine at {token}"
            if answer:
                token.with_name(f"{self.token}{answer}").write_text(self.token)
            with open(token, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # as it has to be: the one who asks holds the lock
            pass
        except OSError as error:
            return f"does not share {self.folder} with this one ({error.strerror}: {token.name})"
        else:
            return f"does not see locks of files in {self.folder}; mount it with locks (flock), as NFS 4 has them"
        if self.code != code():
            return "has another version of this program's code; install the same"
        if told := differing(self.versions, packages()):
            return f"has other packages: {told}; install the same"
        return ""

    def answered(self, answer: str) -> bool:
        """Whether the file is here that `missing(answer)` wrote."""
        try:
            return (Path(self.folder) / f"{self.token}{answer}").read_text() == self.token
        except OSError:
            return False


@contextmanager
def asking(folder: Path) -> Iterator[Asked]:
    """What machines are to have, while the token's file is there and locked. Raises UserError where that can't be."""
    folder = folder.absolute()
    path = folder / f"{PREFIX}{uuid.uuid4().hex}"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "x")  # noqa: SIM115  # closed below
    try:
        with writing(path), file:
            file.write(path.name)
            file.flush()
            os.fsync(file.fileno())
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            environment = {name: value for name, value in os.environ.items() if name.startswith(OF_RUNS)}
            yield Asked(str(folder), str(Path.cwd()), path.name, code(), packages(), environment)
    finally:
        for left in folder.glob(f"{path.name}*"):
            left.unlink(missing_ok=True)
