"""open_corpus on conversations: forms, what is left out, duplicates, overlap, cuts, held-out rows."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from trimtab.data import Corpus, Problem, Turn, open_corpus, open_held_out, open_labelled
from trimtab.errors import DataError, UsageError

Jsonl = Callable[..., str]


def alpaca(n: int, start: int = 0) -> list[dict[str, object]]:
    return [
        {"instruction": f"Say {i}", "input": "", "output": f"{i}, said aloud"} for i in range(start, start + n)
    ]


def said(corpus: Corpus) -> list[tuple[Turn, ...]]:
    return [example.conversation.turns for example in corpus.train if example.conversation is not None]


def problem(corpus: Corpus, code: str) -> Problem | None:
    return next((found for found in corpus.problems if found.message.code == code), None)


def talk(*texts: str, first: str = "user") -> tuple[Turn, ...]:
    roles = ("user", "assistant")
    return tuple(Turn(roles[(i + (first != "user")) % 2], text) for i, text in enumerate(texts))


FORMS = {
    "alpaca": (
        {
            "instruction": "Translate.",
            "input": "chat",
            "output": "cat",
            "system": "Be brief.",
            "history": [["a", "b"]],
        },
        (Turn("system", "Be brief."), *talk("a", "b", "Translate.\nchat", "cat")),
    ),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        talk("Hi", "Hello"),
    ),
    "messages": (
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
                {"role": "assistant", "content": "Hello"},
                {"role": "user", "content": "Bye"},
            ],
            "answer": "72",
        },
        (Turn("system", "Be kind."), *talk("Hi", "Hello")),
    ),
    "prompt": ({"prompt": "2 + 2", "completion": "4", "id": 7}, talk("2 + 2", "4")),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_known_by_itself_and_gives_its_turns(jsonl: Jsonl, tmp_path: Path, form: str) -> None:
    row, turns = FORMS[form]
    for split in ("train", "dev"):
        jsonl([row], name=f"set/{split}.jsonl")
    corpus = open_corpus(str(tmp_path / "set"), keep_overlap=True)
    assert (corpus.task, corpus.form, corpus.labels) == ("instruct", form, ())
    assert said(corpus) == [turns]


def test_messages_in_a_csv_cell_are_read_as_json(tmp_path: Path) -> None:
    cells = [
        json.dumps([{"role": "user", "content": f"q {i}"}, {"role": "assistant", "content": "a"}])
        for i in range(9)
    ]
    rows = "\n".join('"' + cell.replace('"', '""') + '"' for cell in cells)
    (tmp_path / "talk.csv").write_text(f"messages\n{rows}\n", encoding="utf-8")
    assert open_corpus(str(tmp_path / "talk.csv")).form == "messages"


def test_question_and_answer_are_conversations_where_the_answers_are_sentences(jsonl: Jsonl) -> None:
    long = [{"question": f"What is {i}?", "answer": f"It is the number after {i - 1}."} for i in range(20)]
    short = [{"question": f"Is {i} even?", "answer": ("yes", "no")[i % 2]} for i in range(20)]
    assert open_corpus(jsonl(long)).form == "prompt"
    assert open_corpus(jsonl(short)).task == "classify"
    assert open_corpus(jsonl(short), task="instruct").task == "instruct"


def test_any_two_columns_can_be_named_as_prompt_and_answer(jsonl: Jsonl) -> None:
    rows = [{"context": f"c {i}", "ask": f"q {i}", "reply": f"r {i}"} for i in range(20)]
    path = jsonl(rows)
    corpus = open_corpus(path, task="instruct", text=("context", "ask"), label="reply")
    everywhere = [e.conversation.turns for split in (corpus.train, corpus.dev, corpus.test) for e in split or ()]
    assert talk("c 3\nq 3", "r 3") in everywhere
    with pytest.raises(DataError, match="context, ask, reply"):
        open_corpus(path, task="instruct")
    with pytest.raises(UsageError):
        open_corpus(path, task="instruct", label="reply")
    with pytest.raises(DataError, match="TT-D032"):
        open_corpus(path, task="instruct", text=("nothing",), label="reply")


@pytest.mark.parametrize(("text", "label"), [(("instruction", "input"), "output"), (("instruction",), "output")])
def test_naming_the_columns_of_a_form_asks_for_the_form_and_naming_fewer_for_those(
    jsonl: Jsonl, text: tuple[str, ...], label: str
) -> None:
    path = jsonl([row | {"input": "x"} for row in alpaca(20)])
    corpus = open_corpus(path, task="instruct", text=text, label=label)
    assert corpus.form == ("alpaca" if len(text) == 2 else "prompt")
    assert said(corpus)[0][0].text.endswith("\nx") == (len(text) == 2)


def test_rows_that_teach_nothing_are_left_out_and_counted_with_their_places(jsonl: Jsonl) -> None:
    def row(*turns: tuple[str, str]) -> dict[str, object]:
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    good = [row(("user", f"q {i}"), ("assistant", f"a {i}")) for i in range(20)]
    bad = [
        row(("user", "never answered")),
        row(("user", "answered with nothing"), ("assistant", "  ")),
        row(("assistant", "speaks first"), ("user", "oh"), ("assistant", "yes")),
        row(("user", "look it up"), ("tool", "42"), ("assistant", "42")),
        {"messages": None},
    ]
    corpus = open_corpus(jsonl([*good, *bad]))
    assert sum(map(len, (corpus.train, corpus.dev, corpus.test or ()))) == 20
    found = {code: problem(corpus, code) for code in ("TT-D103", "TT-D104", "TT-D105")}
    assert {code: (p.count, p.places[0].row, p.severity) for code, p in found.items() if p} == {
        "TT-D103": (2, 21, "repaired"),
        "TT-D104": (1, 22, "repaired"),
        "TT-D105": (2, 23, "repaired"),
    }


@pytest.mark.parametrize("cell", ["plain words", [1, 2], [{"role": "user", "content": [{"type": "image"}]}]])
def test_a_cell_that_holds_no_turns_is_refused_with_its_row(jsonl: Jsonl, cell: object) -> None:
    good = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    with pytest.raises(DataError, match="row 3") as caught:
        open_corpus(jsonl([good, good, {"messages": cell}]))
    assert caught.value.code == "TT-D102"


def test_a_repeated_row_is_reported_and_a_question_of_dev_leaves_train(tmp_path: Path) -> None:
    rows = alpaca(10)
    files = {"train": [*rows, rows[4]], "dev": [{**rows[2], "output": "another answer"}, *alpaca(3, start=50)]}
    for name, content in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    corpus = open_corpus(str(tmp_path))
    repeated, overlapping = problem(corpus, "TT-D061"), problem(corpus, "TT-D063")
    assert repeated and repeated.count == 1 and repeated.places[0].row == 11
    assert overlapping and overlapping.count == 1 and overlapping.places[0].row == 3
    assert len(corpus.train) == 10 and corpus.test is None
    assert len(open_corpus(str(tmp_path), keep_overlap=True).train) == 11


def test_a_cut_keeps_equal_questions_on_one_side_and_does_not_depend_on_the_order_of_the_file(
    jsonl: Jsonl,
) -> None:
    rows = [row | {"output": f"{row['output']} {n}"} for row in alpaca(60) for n in range(2)]
    corpus = open_corpus(jsonl(rows))
    sides = [{e.conversation.turns[0] for e in split} for split in (corpus.train, corpus.dev, corpus.test or ())]
    assert [len(side) for side in sides] == [48, 6, 6]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    backwards = open_corpus(jsonl(rows[::-1]))
    assert {e.conversation.turns[0] for e in backwards.dev} == sides[1]


def test_a_finished_model_is_scored_on_all_rows_with_an_answer_whatever_their_form(
    jsonl: Jsonl, tmp_path: Path
) -> None:
    trained = {"task": "instruct", "columns": ("instruction",), "label_column": "output", "labels": ()}
    rows = open_labelled(jsonl(alpaca(5)), **trained)
    assert [example.conversation.answer for example in rows][:2] == ["0, said aloud", "1, said aloud"]
    other = open_labelled(jsonl([{"prompt": "a", "completion": "b"}]), **trained)
    assert [example.conversation.turns for example in other] == [talk("a", "b")]
    folder = tmp_path / "splits"
    folder.mkdir()
    for name, count in {"train": 9, "dev": 4, "test": 3}.items():
        content = alpaca(count) if name != "test" else [row | {"output": ""} for row in alpaca(count)]
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    held_out = open_held_out(str(folder), **trained)
    assert held_out is not None and (held_out.name, len(held_out)) == ("dev", 4)  # the test split has no answers
    assert problem(open_corpus(str(folder)), "TT-D075")
