"""The public face is a list, the list is real, and looking at it costs nothing."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import trimtab

VERBS = {
    "bench",
    "check",
    "compress",
    "cost_serve",
    "cost_total",
    "cost_train",
    "doctor",
    "estimate",
    "evaluate",
    "ledger",
    "plan",
    "predict",
    "serve",
    "train",
}
HEAVY = ("numpy", "torch", "transformers", "peft", "accelerate", "sqlalchemy", "huggingface_hub")


def loaded_by(code: str, home: Path) -> set[str]:
    """The heavy packages in sys.modules after `code` ran in a fresh interpreter."""
    tail = f"\nimport sys\nprint(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code + tail],
        env={"TRIMTAB_HOME": str(home), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split())


def names_for_type_checkers() -> dict[str, str]:
    """name -> module, as the block under TYPE_CHECKING imports them."""
    tree = ast.parse(Path(trimtab.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    return {
        alias.name: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_every_public_name_is_the_object_of_its_room() -> None:
    homes = names_for_type_checkers()
    assert set(homes) == set(trimtab.__all__)
    for name, home in homes.items():
        assert getattr(trimtab, name) is getattr(import_module(home), name), name


def test_the_list_is_sorted_and_holds_every_verb_of_the_facade() -> None:
    from trimtab import study

    assert len(set(trimtab.__all__)) == len(trimtab.__all__)
    assert set(trimtab.__all__) >= VERBS | set(study.__all__)


def test_every_error_class_is_public() -> None:
    from trimtab import errors

    classes = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    assert classes <= set(trimtab.__all__)


def test_dir_shows_what_can_be_asked_for() -> None:
    assert set(trimtab.__all__) <= set(dir(trimtab))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'fine_tune'"):
        trimtab.fine_tune  # type: ignore[attr-defined]  # noqa: B018


def test_import_is_light(tmp_path: Path) -> None:
    assert loaded_by("import trimtab", tmp_path) == set()


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["plan", "--help"],
        ["train", "--help"],
        ["cost", "train", "--help"],
        ["cost", "serve", "--help"],
        ["adapters", "merge", "--help"],
        ["--version"],
    ],
)
def test_help_is_light(words: list[str], tmp_path: Path) -> None:
    code = f"import os\nfrom trimtab.app.cli import run\nassert run({words!r}, os.environ) == 0"
    assert loaded_by(code, tmp_path) == set()


def test_planning_never_loads_torch(tmp_path: Path) -> None:
    code = """
import trimtab
trimtab.plan("demo", "demo", on="laptop-16g")
trimtab.estimate("bert-base-chinese", method="lora", on="rtx3060-12g")
trimtab.cost_train("bert-base-chinese", method="lora", on="a10")
traffic = trimtab.Traffic(per_day=1000)
trimtab.cost_serve("bert-base-chinese", traffic)
trimtab.cost_total("bert-base-chinese", traffic, on=("t4", "cloud-cpu-16"))
trimtab.doctor()
trimtab.check("demo")
trimtab.ledger()
"""
    assert not loaded_by(code, tmp_path) & {"torch", "transformers", "peft", "accelerate"}
