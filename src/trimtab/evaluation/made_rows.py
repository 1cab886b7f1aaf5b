"""Rows made of a tokenizer's own words, for an equality gate where no data is at hand: nonsense that reaches all
of a model. Leaves out tasks whose rows hold more than texts and a conversation."""

import numpy as np
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab.data.spec import Conversation, Example, Turn

ROWS = 32
_SHORTEST, _LONGEST = 4, 96  # tokens


def made_rows(tokenizer: Tokenizer, texts: int, max_length: int) -> list[Example]:
    """The same `ROWS` examples for the same tokenizer: of `texts` texts each, and as a question with its
    answer."""
    draw = np.random.default_rng(0)
    words = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    lengths = np.linspace(_SHORTEST, min(_LONGEST, max_length), num=ROWS).astype(int)
    return [
        _row([_text(tokenizer, draw, words, length) for _ in range(max(2, texts))], texts) for length in lengths
    ]


def _row(made: list[str], texts: int) -> Example:
    talk = Conversation((Turn("user", made[0]), Turn("assistant", made[1])))
    return Example(texts=tuple(made[:texts]), label=0, conversation=talk)


def _text(tokenizer: Tokenizer, draw: np.random.Generator, words: list[int], length: int) -> str:
    chosen = [words[place] for place in draw.integers(len(words), size=length)]
    return tokenizer.decode(chosen, skip_special_tokens=True) or "0"
