"""What a model writes: greedy, token by token, until it ends its turn or text or has written enough. Leaves out
sampling, several prompts at once, and streaming."""

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
    model.eval()
    ids = torch.tensor([list(before)], device=next(model.parameters()).device)
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=most_tokens,
        eos_token_id=ends,
        pad_token_id=int(tokenizer.pad_token_id),
        use_cache=True,
    )
    with tuning.quiet_transformers():
        written = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
    found = written[0, ids.shape[1] :].tolist()
    ended = bool(found) and found[-1] in ends
    text = tokenizer.decode(found[:-1] if ended else found, skip_special_tokens=True)
    return Answer(text=text, tokens=len(found), ended=ended)


def stop_tokens(tokenizer: Tokenizer) -> list[int]:
    """Ids that end an answer: the end of a turn, and the end of text."""
    found = {tokenizer.convert_tokens_to_ids(end_of_turn(tokenizer).token), tokenizer.eos_token_id}
    return sorted(int(token) for token in found if token is not None)


def remember_stops(model: PreTrainedModel, tokenizer: Tokenizer) -> None:
    """Have whoever opens the saved model stop at the end of a turn too."""
    if model.generation_config is not None:
        model.generation_config.eos_token_id = stop_tokens(tokenizer)
