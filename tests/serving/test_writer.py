"""Many answers at once: each is what its adapter writes to its prompt alone, whoever comes and goes beside it."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tiny_artifacts import moved_artifact
from tiny_models import DECODERS, WORDS
from tiny_writers import MOST, Chats, chats, last_pieces, question, texts, written
from trimtab.data.spec import Turn
from trimtab.errors import ModelError, UsageError
from trimtab.evaluation import open_artifact
from trimtab.evaluation.generate import continuation
from trimtab.evaluation.plain_text import open_ids
from trimtab.serving.facts import Sampling, WriteRequest
from trimtab.serving.forks import BASE, Forked, Roads
from trimtab.serving.openings import opening
from trimtab.serving.writing import READ_ALONE, READ_BESIDE, Writer, ticket

NAMES = ("a", "b", "c", BASE)


@pytest.fixture(scope="module")
def four(tmp_path_factory) -> Chats:  # type: ignore[no-untyped-def]
    """Three adapters and the base, with room for 2,000 tokens."""
    return chats(tmp_path_factory.mktemp("four"), positions=2000)


class Passes:
    """How many tokens, padding too, and rows each pass of a model has."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.shapes: list[tuple[int, int]] = []
        table = model.get_input_embeddings()  # type: ignore[operator]
        self._hook = table.register_forward_pre_hook(lambda _, given: self.shapes.append(tuple(given[0].shape)))

    def __enter__(self) -> "Passes":
        return self

    def __exit__(self, *exception: object) -> None:
        self._hook.remove()

    @property
    def tokens(self) -> list[int]:
        return [rows * columns for rows, columns in self.shapes]


def test_answers_of_adapters_that_come_and_go_are_those_of_each_alone(four: Chats) -> None:
    """Forty requests, one or two a step, on five seats."""
    draw, writer, pieces = random.Random(0), four.writer(chats=5), []
    asked = [four.ticket(draw.choice(NAMES), question(draw, most_tokens=draw.randint(1, 20))) for _ in range(40)]
    waiting = list(asked)
    with Passes(four.model) as passes:
        while waiting or not writer.idle:
            for one in [waiting.pop() for _ in range(min(len(waiting), draw.randint(0, 2)))]:
                writer.admit(one)
            pieces += writer.step()
    found, last = texts(pieces), last_pieces(pieces)
    assert [found[one] for one in asked] == [four.said_alone(one.adapter, one.request) for one in asked]
    assert len({rows for rows, columns in passes.shapes if columns == 1}) == 5 and len(set(found.values())) > 30
    for one in asked:
        piece, most = last[one], one.request.most_tokens
        assert piece.prompt_tokens == len(one.prompt) and 1 <= piece.tokens <= most
        assert piece.finish == ("length" if piece.tokens == most and piece.finish == "length" else "stop")
    assert {piece.finish for piece in last.values()} == {"length", "stop"}


@pytest.mark.parametrize("family", DECODERS)
def test_every_family_writes_as_alone(family: str, tmp_path: Path) -> None:
    some, draw = chats(tmp_path, family, adapters=("a",)), random.Random(1)
    writer = some.writer(chats=3)
    asked = [some.ticket(name, question(draw)) for name in ("a", BASE, "a", "a", BASE)]
    for one in asked:
        writer.admit(one)
    found = texts(written(writer))
    assert [found[one] for one in asked] == [some.said_alone(one.adapter, one.request) for one in asked]


def test_attention_that_adds_to_scores_gets_such_a_mask(tmp_path: Path) -> None:
    some, draw = chats(tmp_path, adapters=("a",)), random.Random(2)
    some.model.set_attn_implementation("eager")
    writer, asked = some.writer(), [some.ticket("a", question(draw)) for _ in range(4)]
    for one in asked:
        writer.admit(one)
    found = texts(written(writer))
    assert [found[one] for one in asked] == [some.said_alone("a", one.request) for one in asked]


def test_a_text_goes_on_as_it_does_alone(four: Chats) -> None:
    writer = four.writer()
    asked = [
        four.ticket(name, WriteRequest(text=text, most_tokens=9)) for name, text in zip(NAMES, WORDS, strict=False)
    ]
    for one in asked:
        writer.admit(one)
    found = texts(written(writer))
    for one in asked:
        alone = four.alone[one.adapter]
        ids = open_ids(alone.tokenizer, one.request.text)
        assert found[one] == continuation(alone.model, alone.tokenizer, ids, most_tokens=9).text


def test_those_who_write_go_on_while_long_prompts_are_read(four: Chats) -> None:
    """A token a step, and no step reads more than it should; short prompts do not wait behind long ones."""
    draw, writer = random.Random(3), four.writer(chats=8)
    running = [four.ticket(name, question(draw, most_tokens=200)) for name in ("a", "b")]
    for one in running:
        writer.admit(one)
    writer.step()
    long = [four.ticket("c", question(draw, words)) for words in (700, 500)]
    short = four.ticket(BASE, question(draw, 5))
    for one in (*long, short):
        writer.admit(one)
    pieces, steps, short_done = [], 0, 99
    with Passes(four.model) as passes:
        while not set(long) <= set(last_pieces(pieces)):
            before, at = writer.written_tokens, len(passes.shapes)
            pieces += [(one, piece) for one, piece in writer.step()]
            steps += 1
            running = [one for one in running if one in writer.tickets]
            assert writer.written_tokens - before >= len(running)
            assert sum(passes.tokens[at:-1]) <= READ_BESIDE
            if short in last_pieces(pieces):
                short_done = min(steps, short_done)
    assert short_done < 25 < steps
    pieces += written(writer)
    found = texts(pieces)
    for one in (*long, short):
        assert found[one] == four.said_alone(one.adapter, one.request)


def test_prompts_are_read_together_where_that_is_not_mostly_padding(four: Chats) -> None:
    draw, writer = random.Random(4), four.writer()
    for words in (10, 12, 11, 9, 100, 10, 11):
        writer.admit(four.ticket(draw.choice(NAMES), question(draw, words, most_tokens=2)))
    with Passes(four.model) as passes:
        writer.step()
    reads = passes.shapes[:-1]
    assert [rows for rows, _ in reads] == [4, 1, 2] and sum(passes.tokens) < READ_ALONE


def test_an_answer_ends_at_a_text_to_stop_at(four: Chats) -> None:
    draw = random.Random(5)
    request = question(draw, 8, most_tokens=20)
    whole = four.said_alone("a", request)
    stop = whole.split()[4]
    cut = whole[: whole.index(stop)].strip()
    writer = four.writer()
    stopped, other = four.ticket("a", replace(request, stop=("nowhere", stop))), four.ticket("a", request)
    writer.admit(stopped)
    writer.admit(other)
    pieces = list(written(writer))
    found, last = texts(pieces), last_pieces(pieces)
    assert found[stopped] == cut and found[other] == whole
    assert last[stopped].finish == "stop" and last[stopped].tokens < last[other].tokens


def test_what_has_no_room_is_refused_and_what_has_little_ends_there(four: Chats) -> None:
    draw, writer = random.Random(6), four.writer(context_tokens=40)
    with pytest.raises(ModelError) as caught:
        writer.admit(four.ticket("a", question(draw, 40)))
    assert caught.value.code == "TT-N200" and "40" in str(caught.value) and writer.idle
    with pytest.raises(UsageError) as wrong:
        four.ticket("a", question(draw, most_tokens=0))
    assert wrong.value.code == "TT-N202"
    for seed in range(6):
        writer.admit(four.ticket("a", question(random.Random(seed), 20, most_tokens=100)))
    ends = [piece for _, piece in written(writer) if piece.finish]
    assert {piece.prompt_tokens + piece.tokens for piece in ends if piece.finish == "length"} == {40}


def test_a_model_writes_within_what_it_can_look_back_over(tmp_path: Path) -> None:
    some = chats(tmp_path, "mistral", adapters=("a",), positions=70)
    assert some.writer().context_tokens == 70
    some.model.config.sliding_window = 30
    assert some.writer().context_tokens == 30


def test_a_dropped_request_says_no_more_and_changes_no_other(four: Chats) -> None:
    draw, writer = random.Random(7), four.writer(chats=4)
    asked = [four.ticket(NAMES[at % 4], question(draw, most_tokens=20)) for at in range(6)]
    long = four.ticket("a", question(draw, 900))
    for one in asked:
        writer.admit(one)
    pieces = writer.step()
    writer.drop(asked[1])
    writer.drop(asked[5])  # waits
    writer.drop(asked[1])
    writer.admit(long)
    pieces += writer.step() + writer.step()
    assert long in writer.tickets
    writer.drop(long)  # is half read
    before = len(texts(pieces).get(asked[1], ""))
    pieces += written(writer)
    found = texts(pieces)
    assert len(found.get(asked[1], "")) == before and asked[5] not in found and long not in found
    for at in (0, 2, 3, 4):
        assert found[asked[at]] == four.said_alone(asked[at].adapter, asked[at].request)


# ---------------------------------------------------------------- what was read before


def opened_by(system: str, draw: random.Random) -> WriteRequest:
    return WriteRequest(turns=(Turn("system", system), *question(draw, 6).turns), most_tokens=MOST)


def test_a_beginning_that_was_read_is_not_read_again(four: Chats) -> None:
    draw, writer = random.Random(8), four.writer(prefix_bytes=1 << 20)
    system = " ".join(draw.choices(WORDS, k=60))
    first, later, beside, other = (four.ticket(name, opened_by(system, draw)) for name in ("a", "a", "a", "b"))
    read, found = [], {}
    for group in ([first], [later, beside], [other]):
        before = writer.read_tokens - writer.written_tokens
        for one in group:
            writer.admit(one)
        found |= texts(written(writer))
        read.append(writer.read_tokens - writer.written_tokens - before)
    assert read[0] == len(first.prompt) - 1 and read[2] == len(other.prompt) - 1
    assert read[1] < 40 < len(later.prompt)
    for one in (first, later, beside, other):
        assert found[one] == four.said_alone(one.adapter, one.request)


def test_a_conversation_goes_on_from_its_last_answer(four: Chats) -> None:
    draw, writer = random.Random(9), four.writer(prefix_bytes=1 << 20)
    turns, known = (Turn("user", " ".join(draw.choices(WORDS, k=40))),), 1
    for _ in range(3):
        one = four.ticket("c", WriteRequest(turns=turns, most_tokens=8))
        before = writer.read_tokens
        writer.admit(one)
        pieces = list(written(writer))
        said = texts(pieces)[one]
        run = writer.read_tokens - before - (last_pieces(pieces)[one].tokens - 1)
        assert run <= len(one.prompt) - known + 1
        assert said == four.said_alone("c", one.request)
        turns += (Turn("assistant", said), Turn("user", WORDS[0]))
        known = len(one.prompt)
    assert known > 70 and run < 25


def test_one_who_still_writes_has_read_it_too(four: Chats) -> None:
    draw, writer = random.Random(10), four.writer()
    system = " ".join(draw.choices(WORDS, k=60))
    first, second = (four.ticket("a", opened_by(system, draw)) for _ in range(2))
    writer.admit(first)
    pieces = writer.step()
    before = writer.read_tokens
    writer.admit(second)
    pieces += writer.step()
    assert writer.read_tokens - before < 30 < len(second.prompt)
    pieces += written(writer)
    for one in (first, second):
        assert texts(pieces)[one] == four.said_alone("a", one.request)


def test_numbers_taken_over_are_those_that_are_computed(four: Chats) -> None:
    draw = random.Random(11)
    system = " ".join(draw.choices(WORDS, k=60))
    first, second = (four.ticket("b", opened_by(system, draw)) for _ in range(2))
    seen = []
    for before in ((first,), ()):
        writer = four.writer(prefix_bytes=1 << 20)
        for one in (*before, replace(second)):
            writer.admit(one)
            list(written(writer))
        seen.append(writer._prefixes.found("b", np.array(second.prompt, np.int32)))
    for one, other in zip(*seen, strict=True):
        for taken, computed in zip(one, other, strict=True):
            torch.testing.assert_close(taken, computed, atol=1e-5, rtol=0)
    assert seen[0][0][0].shape[1] >= len(second.prompt) - 1


def test_what_is_kept_is_bounded_and_forgotten(four: Chats) -> None:
    draw, most = random.Random(12), 60_000
    writer = four.writer(prefix_bytes=most)
    for _ in range(12):
        writer.admit(four.ticket("a", question(draw, 60)))
        list(written(writer))
        assert 0 < writer.cache_bytes <= most
    writer.forget("b")
    assert writer.cache_bytes > 0
    writer.forget("a")
    assert writer.cache_bytes == 0


def test_memory_of_keys_follows_the_longest_who_writes(four: Chats) -> None:
    draw, writer = random.Random(13), four.writer(chats=4, context_tokens=2000)
    a_column = 4 * 2 * 2 * 16 * 4  # rows, layers, keys and values, heads x size, bytes
    short = [four.ticket("a", question(draw, 5, most_tokens=1500)) for _ in range(2)]
    writer.admit(four.ticket("b", question(draw, 1500, most_tokens=2)))
    for one in short:
        writer.admit(one)
    high = 0
    for _ in range(60):
        writer.step()
        high = max(high, writer._writing.cells.nbytes)
    assert 1500 * a_column < high < 2000 * a_column
    if any(one in writer.tickets for one in short):
        assert writer._writing.cells.nbytes < 512 * a_column
    for one in short:
        writer.drop(one)
    writer.step()
    assert writer.idle and writer.cache_bytes == 0


# ---------------------------------------------------------------- drawing


def test_a_seed_writes_the_same_whoever_stands_beside_it(four: Chats) -> None:
    draw = random.Random(14)
    sampling = [Sampling(temperature=1.3, seed=5), Sampling(temperature=0.9, top_p=0.8, seed=6), Sampling()]
    asked = [question(draw, sampling=one, most_tokens=20) for one in sampling]
    alone = []
    for request in asked:
        writer, one = four.writer(), four.ticket("a", request)
        writer.admit(one)
        alone.append(texts(written(writer))[one])
    writer = four.writer(chats=3)
    crowd = [four.ticket(draw.choice(NAMES), question(draw, sampling=Sampling(temperature=1.0))) for _ in range(6)]
    again = [four.ticket("a", request) for request in (*asked, asked[0])]
    for one in (crowd[0], *again[:2], *crowd[1:], *again[2:]):
        writer.admit(one)
    found = texts(written(writer))
    assert [found[one] for one in again] == [*alone, alone[0]]
    assert alone[2] == four.said_alone("a", asked[2]) and len(set(alone)) == 3


# ---------------------------------------------------------------- virtual tokens


@pytest.mark.parametrize("method", ["prompt", "prefix", "ptuning"])
def test_trained_virtual_tokens_stand_before_their_rows_alone(method: str, tmp_path: Path) -> None:
    some, draw = chats(tmp_path, adapters=("a",)), random.Random(15)
    some.alone[method] = one = open_artifact(moved_artifact(tmp_path / "v", some.source, method, task="instruct"))
    some.forked.add(method, Roads({}))  # an opening is no module that differs
    writer = some.writer(prefix_bytes=1 << 20)
    writer.open_with(method, opening(one.facts.strategy, one.model, one.spec))
    system = " ".join(draw.choices(WORDS, k=20))
    asked = [some.ticket(name, opened_by(system, draw)) for name in (method, "a", BASE, method, "a", method)]
    found = {}
    for group in (asked[:3], asked[3:]):
        for ask in group:
            writer.admit(ask)
        found |= texts(written(writer))
    assert [found[ask] for ask in asked] == [some.said_alone(ask.adapter, ask.request) for ask in asked]
    assert len({some.said_alone(name, asked[0].request) for name in (method, "a", BASE)}) == 3
    plain = some.writer()
    assert plain._ahead(method) == 0 and writer._ahead(method) == next(iter(one.facts.strategy.parts)).tokens


# ---------------------------------------------------------------- numbers that are none


def test_a_row_of_numbers_that_are_none_spoils_no_other(tmp_path: Path) -> None:
    some, draw = chats(tmp_path, positions=400), random.Random(16)
    with torch.no_grad():
        for name, parameter in some.alone["c"].model.named_parameters():
            if "lora_A" in name:
                parameter.fill_(3e38)
    writer = some.writer(chats=2, context_tokens=400)
    long, broken, short = (
        some.ticket(name, question(draw, words, most_tokens=most))
        for name, words, most in (("a", 30, 30), ("c", 25, 2), ("b", 2, 8))
    )
    for one in (long, broken, short):  # the third has the second's place
        writer.admit(one)
    found = texts(written(writer))
    for one in (long, short):
        assert found[one] == some.said_alone(one.adapter, one.request)


@pytest.mark.model
def test_a_real_model_writes_as_alone(real_model) -> None:  # type: ignore[no-untyped-def]
    from trimtab import tuning
    from trimtab.evaluation.generate import answer
    from trimtab.evaluation.objectives import OBJECTIVES
    from trimtab.models import ModelSource, read_spec

    folder = real_model("smollm2-135m-instruct")
    source = ModelSource(folder=folder, name=str(folder))
    tokenizer = OBJECTIVES["instruct"].tokenizer(source)
    model = tuning.load_language_model(source, pad_token_id=int(tokenizer.pad_token_id)).float()
    prompts = ("写一句话，用中文。", "List three animals, each with an emoji.")
    asked = [
        ticket(BASE, WriteRequest(turns=(Turn("user", text),), most_tokens=10), tokenizer) for text in prompts
    ]
    writer = Writer(Forked(model, read_spec(source)))
    for one in asked:
        writer.admit(one)
    pieces = list(written(writer))
    found = texts(pieces)
    assert [found[one] for one in asked] == [
        answer(model, tokenizer, one.request.turns, most_tokens=10).text for one in asked
    ]
    assert all("\N{REPLACEMENT CHARACTER}" not in piece.text for _, piece in pieces if piece.finish is None)
