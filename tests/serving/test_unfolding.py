"""Text token by token: all pieces together are the whole, and none shows what a later token changes."""

import random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tiny_models import tiny_tokenizer
from trimtab.serving.unfolding import Unfolding

TEXTS = ("plain words", "  中文🙂 and\n\nAbc🤖🤖  ", "\N{REPLACEMENT CHARACTER} é \t", "", " \n ", "a" * 300 + "ü")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte: every character outside ASCII is several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({"</s>": 256} | {mark: at for at, mark in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>")


BYTES = byte_tokenizer()


def pieces(text: str | list[int], *stops: str, strips: bool = False, tokenizer=BYTES) -> list[str]:  # type: ignore[no-untyped-def]
    ids = tokenizer(text, add_special_tokens=False)["input_ids"] if isinstance(text, str) else text
    unfolding = Unfolding(tokenizer, stops, strips=strips)
    found = []
    for token in ids:
        found.append(unfolding.add(token))
        if unfolding.stopped:
            break
    return [*found, unfolding.end()]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("strips", [False, True])
def test_all_pieces_together_are_the_text(text: str, strips: bool) -> None:
    found = pieces(text, strips=strips)
    assert "".join(found) == (text.strip() if strips else text)
    assert all(piece == piece.encode("utf-8", "strict").decode() for piece in found)


def test_no_half_character_is_shown() -> None:
    found = pieces("中🙂é")
    assert [piece for piece in found if piece] == ["中", "🙂", "é"]


def test_bytes_that_are_no_character_are_shown_as_decoding_them_at_once_does() -> None:
    draw = random.Random(0)
    for _ in range(40):
        ids = [draw.randrange(256) for _ in range(draw.randrange(200))]
        assert "".join(pieces(ids)) == BYTES.decode(ids, skip_special_tokens=True)


def test_words_are_joined_as_decoding_them_at_once_does() -> None:
    """Of a tokenizer that writes spaces between its tokens."""
    tokenizer, draw = tiny_tokenizer("llama"), random.Random(0)
    for _ in range(20):
        ids = [draw.randrange(len(tokenizer)) for _ in range(draw.randrange(150))]
        found = pieces(ids, tokenizer=tokenizer)
        assert "".join(found) == tokenizer.decode(ids, skip_special_tokens=True)
        assert sum(map(bool, found)) > len(ids) // 2


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one STOP two", ("STOP",), "one "),
        ("one STO two", ("STOP",), "one STO two"),
        ("aab aabc", ("aabc",), "aab "),
        ("x\n\ny", ("\n\n", "y"), "x"),
        ("say 停下 now", ("停下",), "say "),
        ("first END then STOP", ("STOP", "END"), "first "),
        ("STOP", ("STOP",), ""),
        ("abc", ("",), "abc"),
    ],
)
def test_a_stop_is_not_shown_and_nothing_behind_it(text: str, stops: tuple[str, ...], shown: str) -> None:
    found = pieces(text, *stops)
    assert "".join(found) == shown
    assert all(shown.startswith("".join(found[: count + 1])) for count in range(len(found)))
    assert "".join(pieces(text, *stops, strips=True)) == shown.strip()


def test_a_long_text_is_not_decoded_anew_for_every_token() -> None:
    class Counting:
        longest = 0

        def decode(self, ids: list[int], **how: bool) -> str:
            self.longest = max(self.longest, len(ids))
            return str(BYTES.decode(ids, **how))

    counting, text = Counting(), "词 " * 400
    unfolding = Unfolding(counting)  # type: ignore[arg-type]
    ids = BYTES(text)["input_ids"]
    assert "".join(unfolding.add(token) for token in ids) + unfolding.end() == text
    assert counting.longest < 60 < len(ids)
