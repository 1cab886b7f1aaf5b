"""`estimate(exact=True)`: the memory comes from a dry run, kept for the next time; what does not fit says so."""

import subprocess
import sys
from pathlib import Path

import pytest

from trimtab import study
from trimtab.planning import NoPlan, Settings, confirm
from trimtab.units import Evidence

MODEL = "bert-base-chinese"
SETTINGS = Settings(precision="fp32", recompute=False, batch=16)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TRIMTAB_HOME", str(tmp_path))
    return tmp_path


def exact() -> study.Planned:
    return study.estimate(MODEL, method="lora", on="rtx3060-12g", settings=SETTINGS, exact=True)


def test_a_dry_run_is_near_the_formula_and_says_what_it_is(home: Path) -> None:
    formula = study.estimate(MODEL, method="lora", on="rtx3060-12g", settings=SETTINGS).plan.chosen.estimate
    counted = exact().plan.chosen.estimate
    assert counted.memory.peak_bytes.evidence is Evidence.DRY_RUN
    assert formula.memory.peak_bytes.evidence is Evidence.FORMULA
    assert counted.memory.peak_bytes.value == pytest.approx(formula.memory.peak_bytes.value, rel=0.03)
    assert len(list((home / "dry-runs").iterdir())) == 1


def test_the_same_question_is_answered_without_torch(home: Path) -> None:
    first = exact().plan.chosen.estimate.memory
    program = (
        "import sys; from trimtab import study; from trimtab.planning import Settings\n"
        f"planned = study.estimate({MODEL!r}, method='lora', on='rtx3060-12g', exact=True,\n"
        "    settings=Settings(precision='fp32', recompute=False, batch=16))\n"
        "print(planned.plan.chosen.estimate.memory.peak_bytes.value, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(first.peak_bytes.value), "False"]


def test_a_kept_answer_that_is_damaged_is_run_again(home: Path) -> None:
    first = exact()
    next((home / "dry-runs").iterdir()).write_text("[{]", encoding="utf-8")
    assert exact() == first


def test_what_does_not_fit_by_the_better_figure_is_refused() -> None:
    planned = exact()
    small = study.estimate(MODEL, method="lora", on="laptop-8g", settings=SETTINGS).machine
    large = study.estimate("bert-large-uncased", method="full", on="rtx3060-12g", settings=SETTINGS)
    with pytest.raises(NoPlan) as caught:
        confirm(planned.plan, large.plan.chosen.estimate, small)
    assert (caught.value.code, caught.value.exit_code) == ("TT-P020", 3)
    assert not caught.value.plan.chosen.fits
