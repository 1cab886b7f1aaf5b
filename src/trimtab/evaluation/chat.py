"""Conversations to tokens, by the model's own chat template, with the tokens of answers marked.

Rows are cut at the end: an answer that begins beyond the cut is lost, and the data check says how many are. Leaves
out packing several conversations into one row.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice

import numpy as np
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.data.chat_template import DEFAULT_TEMPLATE, Render, TurnEnd, first_line, learned, marked, turn_end
from trimtab.data.spec import Conversation, Example, Turn
from trimtab.errors import ModelError
from trimtab.evaluation.encode import Encoded

_BLOCK = 256


def prepared(tokenizer: Tokenizer) -> Tokenizer:
    """`tokenizer`, in place, with a template: the default one where the model was published without. Raises
    ModelError TT-M044 for a tokenizer that does not say where its tokens stand in the text."""
    if not tokenizer.is_fast:
        raise ModelError("TT-M044", tokenizer=type(tokenizer).__name__)
    if not tokenizer.chat_template:
        tokenizer.chat_template = DEFAULT_TEMPLATE
    return tokenizer


def renderer(tokenizer: Tokenizer) -> Render:
    """The tokenizer's template as a function of turns. Raises ModelError TT-M040 when called."""
    return partial(_render, tokenizer)


def _render(tokenizer: Tokenizer, turns: Sequence[Turn], answer_follows: bool) -> str:
    messages = [{"role": turn.role, "content": turn.text} for turn in turns]
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=answer_follows)
    except Exception as error:  # a template can raise anything
        raise ModelError("TT-M040", why=first_line(error)) from error
    assert isinstance(text, str)
    return text


def end_of_turn(tokenizer: Tokenizer) -> TurnEnd:
    """The token that ends an answer."""
    special = [token.content for token in tokenizer.added_tokens_decoder.values()]
    return turn_end(renderer(tokenizer), special, tokenizer.eos_token or "")


def encode_conversations(examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
    """Tokenise a stream of conversations, each cut at `max_length` tokens, special tokens as the template has
    them."""
    render, end = renderer(tokenizer), end_of_turn(tokenizer)
    ids: list[np.ndarray] = []
    learns: list[np.ndarray] = []
    for block in _blocks(examples):
        texts = [marked(talk, render, end) for talk in block]
        found = tokenizer(
            [text.text for text in texts],
            add_special_tokens=False,
            return_attention_mask=False,
            return_offsets_mapping=True,
        )
        for row, offsets, text in zip(found["input_ids"], found["offset_mapping"], texts, strict=True):
            places = np.array(offsets, np.int64).reshape(-1, 2)[:max_length]
            ids.append(np.array(row[:max_length], np.int32))
            learns.append(learned(places[:, 0], places[:, 1], text.answers))
    lengths = np.array([len(row) for row in ids], np.int64)
    return Encoded(
        ids=np.concatenate(ids) if ids else np.zeros(0, np.int32),
        starts=np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]),
        seconds=np.zeros(len(ids), np.int32),
        labels=np.zeros(len(ids), np.int64),
        learned=np.concatenate(learns) if ids else np.zeros(0, np.bool_),
    )


def prompt_ids(tokenizer: Tokenizer, turns: Sequence[Turn]) -> list[int]:
    """Tokens of turns that ask for an answer."""
    return list(tokenizer(renderer(tokenizer)(turns, True), add_special_tokens=False)["input_ids"])


def _blocks(examples: Iterable[Example]) -> Iterator[list[Conversation]]:
    talks = (example.conversation for example in examples)
    while block := list(islice(talks, _BLOCK)):
        yield [talk for talk in block if talk is not None]
