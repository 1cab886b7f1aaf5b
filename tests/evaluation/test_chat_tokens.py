"""Conversations as tokens of the real SmolLM2: exactly the answers are learned, the ends of turns included."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from tiny_models import tiny_tokenizer
from trimtab.data import Conversation, Example, Turn, open_corpus
from trimtab.data.chat_template import DEFAULT_TEMPLATE
from trimtab.errors import ModelError
from trimtab.evaluation import OBJECTIVES
from trimtab.evaluation.chat import end_of_turn, prepared, prompt_ids
from trimtab.models import ModelSource

ANSWERS = OBJECTIVES["instruct"]
TALKS = (
    (Turn("user", "One?"), Turn("assistant", "1")),
    (
        Turn("system", "Be brief."),
        Turn("user", "Two?"),
        Turn("assistant", "It is 2.\n\nYes: \U0001f600 2."),
        Turn("user", "再说一遍？"),
        Turn("assistant", "二"),
    ),
    (Turn("user", "Speak."), Turn("assistant", "ends in space ")),
)


@pytest.fixture(scope="module")
def smollm(real_model: Callable[[str], Path]) -> PreTrainedTokenizerBase:
    folder = real_model("smollm2-135m-instruct")
    return ANSWERS.tokenizer(ModelSource(folder=folder, name=str(folder)))


def examples() -> list[Example]:
    return [Example((), None, Conversation(turns)) for turns in TALKS]


def test_what_is_learned_is_the_answers_and_the_ends_of_their_turns(smollm: PreTrainedTokenizerBase) -> None:
    assert smollm.pad_token_id == smollm.eos_token_id  # a mask by id would hide the end of a turn
    encoded = ANSWERS.encode(examples(), smollm, 512)
    assert encoded.learned is not None
    for row, turns in enumerate(TALKS):
        part = slice(encoded.starts[row], encoded.starts[row + 1])
        ids, learned = encoded.ids[part], encoded.learned[part]
        answers = [turn.text for turn in turns if turn.role == "assistant"]
        assert smollm.decode(ids[learned]) == "".join(f"{answer}<|im_end|>" for answer in answers)
        assert ids[learned][-1] == smollm.eos_token_id


def test_a_token_that_reaches_into_an_answer_from_before_it_is_learned_whole(
    smollm: PreTrainedTokenizerBase,
) -> None:
    talk = Conversation((Turn("user", "Speak."), Turn("assistant", "  indented")))
    encoded = ANSWERS.encode([Example((), None, talk)], smollm, 512)
    # The template's line end and the answer's first space are one token of this vocabulary.
    assert smollm.decode(encoded.ids[encoded.learned]) == "\n  indented<|im_end|>"


def test_every_answer_of_a_real_set_is_learned_whole(
    smollm: PreTrainedTokenizerBase, shared: Callable[[str], str]
) -> None:
    for name in ("alpaca_en", "alpaca_zh"):
        dev = open_corpus(shared(name)).dev
        encoded = ANSWERS.encode(dev, smollm, 4096)
        assert encoded.learned is not None
        for row, example in enumerate(dev):
            part = slice(encoded.starts[row], encoded.starts[row + 1])
            said = smollm.decode(encoded.ids[part][encoded.learned[part]])
            assert example.conversation is not None and said == f"{example.conversation.answer}<|im_end|>"


def test_targets_stand_one_place_before_their_tokens_and_never_in_the_padding(
    smollm: PreTrainedTokenizerBase,
) -> None:
    encoded = ANSWERS.encode(examples(), smollm, 512)
    collator = ANSWERS.collator(smollm, 512)
    rows = np.array([2, 0, 1])
    inputs = collator.batch(encoded, rows)["input_ids"]
    places, tokens = ANSWERS.targets(encoded, collator, rows)
    assert inputs.flatten()[places + 1].tolist() == tokens.tolist()
    assert len(tokens) == ANSWERS.weight(encoded, rows) == int(encoded.learned.sum())
    assert smollm.decode(tokens[:3]).startswith("ends in")
    mask = collator.batch(encoded, rows)["attention_mask"].flatten()
    assert mask[places].all() and mask[places + 1].all()
    assert mask.view(3, -1)[:, 0].all()  # padded on the right


def test_a_cut_row_learns_what_is_left_of_its_answer(smollm: PreTrainedTokenizerBase) -> None:
    whole = ANSWERS.encode(examples(), smollm, 512)
    cut = ANSWERS.encode(examples(), smollm, 40)
    assert cut.lengths.max() == 40
    for row in range(3):
        kept = slice(cut.starts[row], cut.starts[row + 1])
        same = slice(whole.starts[row], whole.starts[row] + cut.lengths[row])
        assert np.array_equal(cut.learned[kept], whole.learned[same])
    none = ANSWERS.encode(examples()[:1], smollm, 8)
    assert not none.learned.any() and ANSWERS.weight(none, np.array([0])) == 1


def test_a_prompt_is_the_beginning_of_its_conversation(smollm: PreTrainedTokenizerBase) -> None:
    encoded = ANSWERS.encode(examples(), smollm, 512)
    for row, turns in enumerate(TALKS[:2]):
        ids = encoded.ids[encoded.starts[row] : encoded.starts[row + 1]].tolist()
        asked = prompt_ids(smollm, turns[:-1])
        assert ids[: len(asked)] == asked
        assert not encoded.learned[encoded.starts[row] + len(asked) - 1]
        assert encoded.learned[encoded.starts[row] + len(asked)]


def test_a_model_without_a_template_gets_the_default_one_and_ends_with_the_end_of_text() -> None:
    tokenizer = tiny_tokenizer("llama")
    with pytest.raises(ModelError):
        end_of_turn(prepared(tokenizer))
    tokenizer.eos_token = "[SEP]"
    assert tokenizer.chat_template == DEFAULT_TEMPLATE
    end = end_of_turn(tokenizer)
    assert (end.token, end.added) == ("[SEP]", False)
    talk = Conversation((Turn("user", "good film"), Turn("assistant", "bad plot")))
    encoded = ANSWERS.encode([Example((), None, talk)], tokenizer, 64)
    assert tokenizer.decode(encoded.ids[encoded.learned]) == "bad plot [SEP]"
