"""What a model writes: greedy, token by token, until it ends its turn or text or has written enough; after one
prompt, or after several at once. Leaves out sampling, and streaming."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from transformers import GenerationConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.data.spec import Turn
from trimtab.evaluation.chat import end_of_turn, prompt_ids

MOST_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote. `ended`: it ended its turn itself, and was not stopped after `tokens`."""

    text: str
    tokens: int
    ended: bool


@torch.inference_mode()
def answer(
    model: PreTrainedModel, tokenizer: Tokenizer, turns: Sequence[Turn], *, most_tokens: int = MOST_TOKENS
) -> Answer:
    """The most likely answer to `turns`. The model is put into evaluation mode and stays there."""
    written = _written(model, tokenizer, prompt_ids(tokenizer, turns), stop_tokens(tokenizer), most_tokens)
    return replace(written, text=written.text.strip())


@torch.inference_mode()
def continuation(
    model: PreTrainedModel, tokenizer: Tokenizer, ids: Sequence[int], *, most_tokens: int = MOST_TOKENS
) -> Answer:
    """How a text that begins with the tokens `ids` is most likely to go on, to its end."""
    return _written(model, tokenizer, ids, [int(tokenizer.eos_token_id)], most_tokens)


def _written(
    model: PreTrainedModel, tokenizer: Tokenizer, before: Sequence[int], ends: list[int], most_tokens: int
) -> Answer:
    (found,) = written_ids(model, [before], ends, int(tokenizer.pad_token_id), most_tokens)
    return answer_of(tokenizer, found, ends)


def answer_of(tokenizer: Tokenizer, written: Sequence[int], ends: Sequence[int]) -> Answer:
    """The tokens that were `written` as a text."""
    ended = bool(written) and written[-1] in ends
    text = tokenizer.decode(list(written[:-1] if ended else written), skip_special_tokens=True)
    return Answer(text=text, tokens=len(written), ended=ended)


@torch.inference_mode()
def written_ids(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], ends: Sequence[int], pad: int, most_tokens: int
) -> list[list[int]]:
    """What `model` writes after each of `prompts`, at most `most_tokens` tokens, up to and with the first of the
    `ends`. All prompts go through it at once, shorter ones filled up on the left with `pad`, which nothing sees:
    each answer is what its prompt alone gives, but for rounding. The model is put into evaluation mode and stays
    there."""
    model.eval()
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.tensor([[pad] * (longest - len(one)) + list(one) for one in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts], device=device)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=most_tokens,
        eos_token_id=list(ends),
        pad_token_id=pad,
        use_cache=True,
    )
    with tuning.quiet_transformers():
        written = model.generate(ids, attention_mask=mask, generation_config=settings)
    return [_up_to_an_end(row, ends) for row in written[:, longest:].tolist()]


def _up_to_an_end(written: list[int], ends: Sequence[int]) -> list[int]:
    """What stands behind it is padding, which may be the same token."""
    last = next((at for at, token in enumerate(written) if token in ends), len(written))
    return written[: last + 1]


def stop_tokens(tokenizer: Tokenizer) -> list[int]:
    """Ids that end an answer: the end of a turn, and the end of text."""
    found = {tokenizer.convert_tokens_to_ids(end_of_turn(tokenizer).token), tokenizer.eos_token_id}
    return sorted(int(token) for token in found if token is not None)


def remember_stops(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Have whoever opens the saved model stop at the end of a turn too."""
    if model.generation_config is not None:
        model.generation_config.eos_token_id = stop_tokens(tokenizer)
