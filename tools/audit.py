"""`python -m tools.audit`: what the pinned packages are (CycloneDX), and which known vulnerabilities they have.

    python -m tools.audit --sbom build/sbom.json --advisories advisory-database/vulns

Advisories are files of the Open Source Vulnerability format, as YAML or JSON, such as github.com/pypa/advisory-database
or the archive of PyPI that osv.dev exports, unpacked: a folder, which needs no network. `pip-audit` has no such way; it
asks a service over the network, and is asked itself where it is installed and no folder is given. Exit code 1: a
vulnerability is known; 0: none is, or nothing was scanned, which a line says.
"""

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
PINNED = ROOT / "constraints.txt"
ADVISORIES = "LATENT_COMBO_ADVISORIES"
"""The environment variable that names the folder."""
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Finding:
    """A vulnerability of a pinned package."""

    package: str
    version: str
    advisory: str
    fixed: str
    """Versions in which it is mended; empty for none."""

    def __str__(self) -> str:
        remedy = f"mended in {self.fixed}" if self.fixed else "mended nowhere"
        return f"{self.package} {self.version}: {self.advisory}, {remedy}"


def pinned(path: Path = PINNED) -> dict[str, str]:
    """The versions that a file of constraints pins, by normalised names. Raises ValueError for any other line."""
    found: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if not (said := line.partition("#")[0].strip()):
            continue
        name, equals, version = said.partition("==")
        if not equals:
            raise ValueError(f"{path}: {said!r} pins no version; write NAME==VERSION")
        found[normalised(name)] = version.strip()
    return found


def normalised(name: str) -> str:
    """A package's name as PyPI compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def bill_of_materials(packages: dict[str, str]) -> dict[str, Any]:
    """A CycloneDX 1.6 document of these packages, the same for the same ones; licences are of what is installed."""
    components = []
    for name, version in sorted(packages.items()):
        purl = f"pkg:pypi/{name}@{version}"
        component: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
        if licence := _licence(name, version):
            component["licenses"] = [{"license": {"name": licence}}]
        components.append(component)
    pins = "\n".join(f"{name}=={version}" for name, version in sorted(packages.items()))
    about = {"type": "application", "bom-ref": "latent-combo", "name": "latent-combo", "version": _own_version()}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, pins)}",
        "version": 1,
        "metadata": {"component": about},
        "components": components,
    }


def _licence(name: str, version: str) -> str:
    """What the installed package of that version says; empty where it is not installed, or says nothing short."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
    told = found.metadata.json
    said = str(told.get("license_expression") or told.get("license") or "")
    return said if found.version == version and "\n" not in said and len(said) < 100 else ""


def _own_version() -> str:
    found = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return found[1] if found else "0"


def scan(packages: dict[str, str], advisories: Path) -> tuple[list[Finding], int]:
    """What a folder of advisories knows of these packages, and how many advisories it has.

    Raises ValueError for a folder without any.
    """
    findings: list[Finding] = []
    count = 0
    for path in sorted(file for file in advisories.rglob("*") if file.suffix in (".json", ".yaml", ".yml")):
        text = path.read_text()
        said = json.loads(text) if path.suffix == ".json" else yaml.load(text, _Loader)  # a SafeLoader
        if not isinstance(said, dict) or "affected" not in said:
            continue
        count += 1
        if not said.get("withdrawn"):
            findings += _found(said, packages)
    if not count:
        raise ValueError(f"{advisories} has no advisories; name the folder with those of PyPI")
    return findings, count


def _found(said: dict[str, Any], packages: dict[str, str]) -> Iterator[Finding]:
    for affected in said["affected"]:
        package = affected.get("package", {})
        name = normalised(str(package.get("name", "")))
        if package.get("ecosystem") != "PyPI" or name not in packages:
            continue
        ranges = [part for part in affected.get("ranges", []) if part.get("type") == "ECOSYSTEM"]
        version = packages[name]
        if version in map(str, affected.get("versions", [])) or any(_within(version, part) for part in ranges):
            fixed = [str(event["fixed"]) for part in ranges for event in part["events"] if "fixed" in event]
            yield Finding(name, version, str(said["id"]), ", ".join(fixed))


def _within(version: str, part: dict[str, Any]) -> bool:
    """Whether a range has a version: its last event up to that is `introduced` (the OSV format, 'Evaluation')."""
    here, inside = Version(version), False
    try:
        events = sorted(((_version(said), kind) for event in part["events"] for kind, said in event.items()))
    except InvalidVersion:
        return False  # such an advisory lists its versions
    for at, kind in events:
        if kind == "introduced" and at <= here:
            inside = True
        elif (kind == "fixed" and at <= here) or (kind == "last_affected" and at < here):
            inside = False
    return inside


def _version(said: object) -> Version:
    return Version("0.dev0" if str(said) == "0" else str(said))  # what is before all others


def by_pip_audit() -> int | None:
    """The exit code of `pip-audit`, which asks PyPI's service; None where it is not installed, or reaches nobody."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(PINNED), "--no-deps", "--disable-pip"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode and not re.search(r"found \d+ known vulnerabilit", done.stdout.lower()):
        return None
    print(done.stdout.rstrip())
    return done.returncode


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, write the bill of materials, scan, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sbom", type=Path, help="write the CycloneDX document to this file")
    folder = Path(named) if (named := os.environ.get(ADVISORIES)) else None
    parser.add_argument("--advisories", type=Path, default=folder, help=f"their folder (default: ${ADVISORIES})")
    given = parser.parse_args(arguments)
    packages = pinned()
    if given.sbom is not None:
        given.sbom.parent.mkdir(parents=True, exist_ok=True)
        given.sbom.write_text(json.dumps(bill_of_materials(packages), indent=1) + "\n")
        print(f"{given.sbom}: {len(packages)} packages, CycloneDX 1.6")
    if given.advisories is not None:
        findings, count = scan(packages, given.advisories)
        print(*findings, sep="\n", end="\n" if findings else "")
        print(f"{len(findings)} known vulnerabilities of {len(packages)} packages, by {count} advisories")
        return int(bool(findings))
    if (code := by_pip_audit()) is not None:
        return code
    remedy = (
        f"name a folder of advisories (--advisories or {ADVISORIES}), or install pip-audit where there is a network"
    )
    print(f"not scanned for vulnerabilities: {remedy}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
