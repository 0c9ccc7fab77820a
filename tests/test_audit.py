"""The bill of materials is of all that is pinned; advisories are matched by name and version, from a folder."""

import json
from pathlib import Path
from typing import Any

import pytest

from tools import audit
from tools.audit import bill_of_materials, main, normalised, pinned, scan


def advisory(folder: Path, name: str, **affected: Any) -> None:
    said = {"id": name, "affected": [{"package": {"name": "Some_Package", "ecosystem": "PyPI"}, **affected}]}
    (folder / f"{name}.json").write_text(json.dumps(said))


def test_the_bill_of_materials_has_all_that_is_pinned() -> None:
    packages = pinned()
    made = bill_of_materials(packages)
    assert made == bill_of_materials(packages) and made["bomFormat"] == "CycloneDX"
    listed = {component["name"]: component["version"] for component in made["components"]}
    assert listed == packages and len(packages) > 100
    (torch,) = (component for component in made["components"] if component["name"] == "torch")
    assert torch["purl"] == f"pkg:pypi/torch@{packages['torch']}" == torch["bom-ref"]
    assert len({component["bom-ref"] for component in made["components"]}) == len(packages)


@pytest.mark.parametrize(
    ("events", "affects"),
    [
        ([{"introduced": "0"}, {"fixed": "2.0"}], {"1.0": True, "2.0": False, "1.10": True, "2.0rc1": True}),
        ([{"introduced": "1.5"}, {"last_affected": "1.9"}], {"1.4": False, "1.5": True, "1.9": True, "1.10": False}),
        ([{"fixed": "1.2"}, {"introduced": "1.0"}, {"introduced": "2.0"}], {"1.1": True, "1.2": False, "2.1": True}),
        ([{"introduced": "0"}], {"0.1a0": True, "99": True}),
    ],
)
def test_a_range_has_the_versions_between_its_events(
    events: list[dict[str, str]], affects: dict[str, bool], tmp_path: Path
) -> None:
    advisory(tmp_path, "PYSEC-1", ranges=[{"type": "ECOSYSTEM", "events": events}])
    for version, affected in affects.items():
        findings, count = scan({"some-package": version}, tmp_path)
        assert (bool(findings), count) == (affected, 1), version


def test_listed_versions_count_and_other_ecosystems_and_withdrawn_advisories_do_not(tmp_path: Path) -> None:
    advisory(tmp_path, "listed", versions=["1.0"], ranges=[{"type": "GIT", "events": [{"introduced": "0"}]}])
    (tmp_path / "npm.yaml").write_text(
        "id: npm\naffected:\n- package: {name: some-package, ecosystem: npm}\n  versions: ['1.0']\n"
    )
    (tmp_path / "gone.yaml").write_text(
        "id: gone\nwithdrawn: '2024-01-01T00:00:00Z'\naffected:\n- package: {name: some-package, ecosystem: PyPI}\n"
        "  versions: ['1.0']\n"
    )
    findings, count = scan({"some-package": "1.0"}, tmp_path)
    assert ([str(found) for found in findings], count) == (["some-package 1.0: listed, mended nowhere"], 3)
    assert scan({"some-package": "1.1"}, tmp_path)[0] == []


def test_the_command_says_what_it_found_and_what_it_did_not_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, version = next(iter(pinned().items()))
    (tmp_path / "one.yaml").write_text(
        f"id: PYSEC-7\naffected:\n- package: {{name: {name}, ecosystem: PyPI}}\n"
        f"  ranges: [{{type: ECOSYSTEM, events: [{{introduced: '0'}}, {{fixed: '{version}.1'}}]}}]\n"
    )
    monkeypatch.setenv(audit.ADVISORIES, str(tmp_path))
    assert main(["--sbom", str(tmp_path / "made" / "sbom.cdx")]) == 1
    assert f"{name} {version}: PYSEC-7, mended in {version}.1" in capsys.readouterr().out
    assert json.loads((tmp_path / "made" / "sbom.cdx").read_text())["specVersion"] == "1.6"
    monkeypatch.delenv(audit.ADVISORIES)
    monkeypatch.setattr(audit, "by_pip_audit", lambda: None)
    assert main([]) == 0
    assert "not scanned for vulnerabilities" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no advisories"):
        main(["--advisories", str(tmp_path / "empty")])
    assert normalised("Some__Package.x") == "some-package-x"
