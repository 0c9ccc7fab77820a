"""What a run is known by: its settings, its data and the code that made it. Runs that differ are not compared."""

import ast
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from combo_common.bounded_json import read_json
from combo_common.errors import UserError
from combo_common.files import write_atomically
from combo_common.versions import ROOT
from data.reference import resolve
from envs.registry import get_task
from latent_combo.comparison.job import RECORD
from latent_combo.config.saved import flat_settings
from latent_combo.config.schema import Config
from latent_combo.pipeline.origin import PACKAGES, WHERE, changed_settings, differing, module_of, packages

NOT_OF_A_RUN = ("latent_combo/comparison", "latent_combo/compare.py", "latent_combo/cli.py")
"""Code that no run imports."""
_hashed: dict[tuple[tuple[str, int, int], ...], str] = {}


@dataclass(frozen=True)
class Fingerprint:
    """What a run is known by."""

    settings: dict[str, Any]
    """All settings but where things are, by dotted names."""
    data: str
    """SHA-256 of the dataset; empty where it can not be read, and then training says why."""
    code: str
    """See `code`."""
    module: str
    """SHA-256 of the user's own module that the task was named by; empty for other tasks."""
    versions: dict[str, str]
    """Of Python and of the packages that results depend on."""

    @classmethod
    def of(cls, config: Config, data: str) -> "Fingerprint":
        """That of a run with these settings, on data with this SHA-256, by this program."""
        settings = {name: value for name, value in flat_settings(config).items() if name not in WHERE}
        return cls(settings, data, code(), module_of(config), packages())

    def difference(self, before: "Fingerprint") -> str:
        """In what a run of before differs from this one, for people; empty where it does in nothing."""
        if told := changed_settings(before.settings, self.settings):
            return f"other settings: {told}"
        if self.data != before.data:
            return f"other data: fingerprint {before.data[:12] or 'unknown'} then, {self.data[:12] or 'unknown'} now"
        if self.module != before.module:
            return f"another version of the module of {self.settings.get('task')}"
        if self.code != before.code:
            return "another version of this program's code"
        changed = differing(before.versions, self.versions, ("then", "now"))
        return f"other packages: {changed}" if changed else ""


def keep(fingerprint: dict[str, Any], run: Path) -> None:
    """Write what a run is known by into its folder. Raises UserError where it can't."""
    write_atomically(run / RECORD, json.dumps(fingerprint, indent=2).encode())


def kept(run: Path) -> Fingerprint | None:
    """What a run says that it is known by; None for a run that says nothing, or nothing that can be read."""
    try:
        return Fingerprint(**read_json(run / RECORD))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def data_fingerprint(config: Config) -> str:
    """SHA-256 of a run's dataset, which is read whole, and fetched if need be; empty where it can not be read."""
    try:
        return resolve(config.dataset, get_task(config.task), config.data_folder).fingerprint
    except (UserError, OSError):
        return ""


def code() -> str:
    """SHA-256 of the program's source, without comments and docstrings.

    Files are read anew where their size or time has changed.
    """
    own = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    named = {path.relative_to(ROOT).as_posix(): path for path in own}
    files = {name: path for name, path in named.items() if not name.startswith(NOT_OF_A_RUN)}
    key = tuple((name, (about := path.stat()).st_size, about.st_mtime_ns) for name, path in sorted(files.items()))
    if key not in _hashed:
        digest = hashlib.sha256()
        for name, path in sorted(files.items()):
            digest.update(f"{name} {_meaning(path)}\n".encode())
        _hashed[key] = digest.hexdigest()
    return _hashed[key]


class _WithoutDocstrings(ast.NodeTransformer):
    """Leaves out strings that stand alone."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:  # ast's name
        """A statement, or None for a mere string."""
        alone = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if alone else node


def _meaning(path: Path) -> str:
    """What a file of Python says; its bytes where it is none."""
    content = path.read_bytes()
    try:
        return ast.dump(_WithoutDocstrings().visit(ast.parse(content)))
    except (SyntaxError, ValueError):
        return content.hex()
