"""Rows that `evaluate` scores are rows the training held out, whatever seed cut them."""

import csv
from pathlib import Path

from trimtab.artifacts import ArtifactFacts, Base
from trimtab.methods import Head, Strategy
from trimtab.study import Reading, gather
from trimtab.study.results import _rows_to_score


def test_a_split_is_cut_again_as_it_was_cut(tmp_path: Path) -> None:
    with (tmp_path / "train.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([f"text number {number}", "ab"[number % 2]] for number in range(300))
    trained = gather.open_corpus(str(tmp_path), Reading(seed=7))
    facts = ArtifactFacts(
        adapter=False,
        task="classify",
        labels=("a", "b"),
        columns=("text",),
        label_column="label",
        outputs=2,
        base=Base(name="m", hub_id="", revision="", family="bert", weights_sha256=""),
        strategy=Strategy(method="head", parts=(Head(),)),
        trimtab_version="0",
        split_seed=7,
    )
    scored = {example.texts for example in _rows_to_score(str(tmp_path), facts, Reading())}
    assert scored and not scored & {example.texts for example in trained.train}
    held_out = trained.test or trained.dev
    assert scored == {example.texts for example in held_out}
