"""The diagnosis: what it finds on a described machine, and that it finds this one quickly and without
torch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from trimtab.errors import LANGUAGES
from trimtab.hardware.catalogue import machine_named
from trimtab.hardware.doctor import device_findings, disk_free_bytes, examine, hub_folder, library_findings


def codes(findings) -> set[str]:
    return {finding.code for finding in findings}


@pytest.mark.parametrize(
    ("version", "requires", "complains"),
    [
        ("2.13.0+cpu", ("filelock", "numpy"), True),
        ("2.13.0+cu128", ("filelock",), False),
        ("2.13.0", ("filelock", "nvidia-cublas-cu12==12.8"), False),
        ("2.13.0", ("filelock",), True),
        ("", (), False),
    ],
)
def test_a_torch_that_cannot_use_the_gpu(version: str, requires: tuple[str, ...], complains: bool) -> None:
    found = device_findings(replace(machine_named("l4"), count=2), version, requires)
    assert ("TT-H010" in codes(found)) == complains


def test_an_amd_card_wants_a_rocm_build() -> None:
    amd = machine_named("mi300x")
    assert "TT-H010" in codes(device_findings(amd, "2.13.0+cu128", ("nvidia-cublas",)))
    assert "TT-H010" not in codes(device_findings(amd, "2.13.0+rocm6.4", ()))


def test_bf16_in_plain_words() -> None:
    assert "TT-H020" in codes(device_findings(machine_named("t4"), "2.13.0+cu128", ()))
    assert "TT-H019" in codes(device_findings(machine_named("epyc-9654"), "2.13.0+cpu", ()))


def test_missing_libraries_are_named() -> None:
    found = library_findings({"torch": "2.13.0", "numpy": "2.4"})
    (missing,) = [finding for finding in found if finding.code == "TT-H021"]
    assert "peft" in str(missing.fact("missing")) and "numpy" not in str(missing.fact("missing"))
    assert {"TT-H017", "TT-H018", "TT-H060"} <= codes(found)


def test_a_card_that_the_catalogue_does_not_have_is_a_fact() -> None:
    """No next step: no training here makes its assumed speed better."""
    card = machine_named("l4")
    unknown = replace(card, device=replace(card.device, source="driver; not in the catalogue"))
    (found,) = [finding for finding in device_findings(unknown, "2.13.0+cu128", ()) if finding.code == "TT-H011"]
    assert not found.next_step("en") and not found.next_step("zh")


def test_the_hub_folder_follows_the_hubs_own_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert hub_folder() == tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "elsewhere"))
    assert hub_folder() == tmp_path / "elsewhere"
    assert disk_free_bytes(tmp_path / "not" / "there" / "yet") > 0


def test_offline_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "TT-H016" in codes(examine().findings)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert "TT-H016" not in {
        f.code for f in examine().findings if dict(f.facts).get("variable") == "HF_HUB_OFFLINE"
    }


def test_every_finding_reads_in_both_languages() -> None:
    diagnosis = examine()
    assert diagnosis.version("numpy")
    for finding in diagnosis.findings:
        texts = [finding.text(language) for language in LANGUAGES]
        assert all(texts) and texts[0] != texts[1]
        assert bool(finding.next_step("en")) == bool(finding.next_step("zh"))


def test_looking_imports_no_torch() -> None:
    """In a process of its own, so that nothing else has imported it."""
    code = (
        "import sys, time; start = time.process_time();"
        "from trimtab.hardware.detect import this_machine;"
        "from trimtab.hardware.doctor import examine; examine(); this_machine();"
        "heavy = {'torch', 'transformers', 'peft', 'accelerate', 'numpy', 'sqlalchemy'} & set(sys.modules);"
        "assert not heavy, heavy; assert time.process_time() - start < 3"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
