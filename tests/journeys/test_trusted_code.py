"""A model that brings its own code: no verb opens it, nor what was trained from it, unless the user says so."""

import json
import shutil
from pathlib import Path

import pytest
from sentences import UNSEEN
from terminal import SHORT, Terminal

TRUST = "--trust-remote-code"
# Runs where it is imported, and computes what the class of transformers does not.
CODE = """
from transformers import BertForSequenceClassification

open("ran", "w").close()


class Turned(BertForSequenceClassification):
    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        out.logits = out.logits.flip(-1)
        return out
"""


@pytest.fixture
def coded(tt: Terminal, bert: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder with a model of its own class. What transformers copies to import it stays in the test's folder."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tt.folder / "modules"))
    folder = shutil.copytree(bert, tt.folder / "coded")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["auto_map"] = {"AutoModelForSequenceClassification": "modeling_turned.Turned"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "modeling_turned.py").write_text(CODE, encoding="utf-8")
    return "coded"


def assert_refused(tt: Terminal, *command: str) -> None:
    """Refused without the option, by its name, with nothing run; answered with it."""
    refused = tt(*command)
    assert refused.code == 5 and refused.out == "", refused.err
    what, following = refused.err.splitlines()
    assert what.startswith("TT-M016: ") and f"allow it with {TRUST}" in following
    assert not (tt.folder / "ran").exists()


def test_plan_and_estimate_read_its_shape_and_run_nothing(tt: Terminal, coded: str) -> None:
    plan = ("plan", coded, "--data", "topics.csv", "--method", "head")
    estimate = ("estimate", coded, "--method", "lora", "--length", "16")
    for command in (plan, estimate):
        assert_refused(tt, *command)
        tt.done(*command, TRUST)
    following = tt.done(*plan, TRUST).lines[-1]
    assert "trimtab train coded" in following and TRUST in following
    assert not (tt.folder / "ran").exists()


@pytest.mark.parametrize("method", ["full", pytest.param("lora", marks=pytest.mark.soak)])
def test_an_artifact_opens_only_where_the_code_is_allowed_again(tt: Terminal, coded: str, method: str) -> None:
    tt.done("train", coded, "--data", "topics.csv", "--method", method, *SHORT, "--out", "out", TRUST)
    assert (tt.folder / "ran").exists()
    predict = ("predict", "out", "--text", UNSEEN[0])
    evaluate = ("evaluate", "out", "--data", "topics.csv")
    for command in (predict, evaluate):
        (tt.folder / "ran").unlink(missing_ok=True)
        assert_refused(tt, *command)
        tt.done(*command, TRUST)
        assert (tt.folder / "ran").exists()
