"""The head over a vocabulary, a chunk of positions at a time: losses of tokens without all their logits at once.

Of a batch of 8 x 512 tokens and a vocabulary of 128,000 the logits take 2 GiB in fp32, their gradient as much
again. Only positions before a learned token have a loss; their scores are computed in chunks, forward and once
more backward, where the gradient is made in their place. The sum is cross entropy as torch computes it, in fp32.
Leaves out: heads that are no plain matrix (quantised, with an adapter of their own)."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.data.spec import padded_positions, vocabulary_chunk
from trimtab.errors import ModelError
from trimtab.tuning import structure

_SAME = {torch.float32: 1e-4, torch.bfloat16: 2e-2, torch.float16: 2e-2}  # of the largest logit


@dataclass(frozen=True, slots=True)
class VocabularyHead:
    """logits = cap * tanh(factor * (W x + b) / cap), without the tanh where `cap` is 0."""

    weight: torch.Tensor
    bias: torch.Tensor | None = None
    factor: float = 1.0
    cap: float = 0.0

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """hidden (n, width) of the weight's dtype, n at most a chunk -> fp32 (n, vocabulary). No gradients."""
        return Room(self, padded_positions(len(hidden), len(self.weight))).logits(hidden)


class Room:
    """Where the scores of a chunk are computed: twice in fp32, and once as the matrix gives them. One piece of
    memory for all chunks of a batch: pieces of any size, taken and given back again and again, would leave holes
    in the C heap, hundreds of MiB of them, while one of 32 MiB and more is mapped by itself."""

    def __init__(self, head: VocabularyHead, rows: int) -> None:
        self._head = head
        vocab, dtype = len(head.weight), head.weight.dtype
        numbers, same = rows * vocab, dtype == torch.float32
        held = torch.empty(
            numbers * (8 + (0 if same else dtype.itemsize)), dtype=torch.uint8, device=head.weight.device
        )
        self._scores = held[: 4 * numbers].view(torch.float32).view(rows, vocab)
        self._beside = held[4 * numbers : 8 * numbers].view(torch.float32).view(rows, vocab)
        self._made = self._scores if same else held[8 * numbers :].view(dtype).view(rows, vocab)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """As `VocabularyHead.logits`, until the next call."""
        head, rows = self._head, len(hidden)
        made, scores = self._made[:rows], self._scores[:rows]
        padded = self.padded(hidden.detach())
        torch.mm(padded, head.weight.detach().T, out=self._made[: len(padded)])
        if head.bias is not None:
            made.add_(head.bias.detach())
        if made.dtype != scores.dtype:
            scores.copy_(made)
        if head.factor != 1.0:
            scores.mul_(head.factor)
        return scores.div_(head.cap).tanh_().mul_(head.cap) if head.cap else scores

    def normalisers(self, logits: torch.Tensor) -> torch.Tensor:
        """Logarithm of the sum of the exponentials of each row, (n)."""
        highest = logits.amax(1)
        torch.sub(logits, highest[:, None], out=self._beside[: len(logits)])
        return self._beside[: len(logits)].exp_().sum(1).log_().add_(highest)

    def slope(self, logits: torch.Tensor) -> torch.Tensor:
        """Derivative of the cap, (n, vocabulary), until the next call."""
        beside = torch.div(logits, self._head.cap, out=self._beside[: len(logits)])
        return beside.square_().neg_().add_(1.0)

    def low(self, scores: torch.Tensor) -> torch.Tensor:
        """`scores` in the dtype of the matrix, and rows of zeros below them as `padded` adds them; until the next
        call."""
        made = self._made[: self._size(len(scores))]
        if made.dtype != scores.dtype:
            made[: len(scores)].copy_(scores)
        made[len(scores) :].zero_()
        return made

    def padded(self, hidden: torch.Tensor) -> torch.Tensor:
        """`hidden` with rows of zeros below, so that few numbers of rows occur."""
        return nn.functional.pad(hidden, (0, 0, 0, self._size(len(hidden)) - len(hidden)))

    def _size(self, rows: int) -> int:
        return padded_positions(rows, len(self._head.weight))


def head_of(model: PreTrainedModel) -> VocabularyHead:
    """The head of a language model, with what its class does to the logits (Granite divides, Cohere multiplies,
    Gemma 2 caps them)."""
    head, config = model.get_output_embeddings(), model.config
    assert isinstance(head, nn.Linear), "a language model's head is a matrix"
    times, over = (getattr(config, name, None) or 1.0 for name in ("logit_scale", "logits_scaling"))
    cap = getattr(config, "final_logit_softcapping", None) or 0.0
    return VocabularyHead(head.weight, head.bias, float(times) / float(over), float(cap))


@torch.no_grad()
def require_same_logits(model: PreTrainedModel) -> None:
    """Hold `head_of` to the model's own class on a few tokens. Raises ModelError TT-M043: a class that does
    something to its logits which is not known here would be trained towards something else."""
    model.eval()
    ids = torch.arange(1, 9)[None]
    theirs = model(input_ids=ids, use_cache=False).logits[0].float()
    ours = head_of(model).logits(hidden_states(model, {"input_ids": ids})[0])
    difference, allowed = (ours - theirs).abs().max(), _SAME[model.dtype] * theirs.abs().max().clamp(min=1.0)
    if not difference <= allowed:
        family = str(model.config.model_type)
        raise ModelError("TT-M043", family=family, difference=float(difference), allowed=float(allowed))


def hidden_states(model: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """What the head sees: (rows, width, hidden)."""
    return structure.backbone(model)(**inputs, use_cache=False)[0]


def cross_entropy_sum(hidden: torch.Tensor, tokens: torch.Tensor, head: VocabularyHead) -> torch.Tensor:
    """Sum over positions of the cross entropy of `tokens` (n) int64, after `hidden` (n, width); an fp32 scalar.
    Gradients reach `hidden` and, where it is trained, the head: in its own dtype, rounded after each chunk."""
    return _ChunkedCrossEntropy.apply(hidden, head.weight, head.bias, tokens, head)


def token_scores(
    hidden: torch.Tensor, tokens: torch.Tensor, head: VocabularyHead
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of every token, fp32 (n), and whether it is the most likely one, bool (n). No gradients."""
    losses, likely = token_readings(hidden, tokens, head)
    return losses, likely == tokens.to(likely.device)


def token_readings(
    hidden: torch.Tensor, tokens: torch.Tensor, head: VocabularyHead
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of every token, fp32 (n), and the most likely token at its place, int64 (n). No gradients."""
    losses, likely = torch.empty(len(tokens)), torch.empty(len(tokens), dtype=torch.int64)
    parts, room = chunks(len(tokens), head)
    for part in parts:
        logits = room.logits(hidden[part])
        likely[part] = logits.argmax(1).to(likely.device)
        losses[part] = (room.normalisers(logits) - _of(logits, tokens[part])).to(losses.device)
    return losses, likely


def _of(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return logits.gather(1, tokens[:, None])[:, 0]


def chunks(positions: int, head: VocabularyHead) -> tuple[list[slice], Room]:
    """How many positions are gone through at a time, and where their scores are computed."""
    vocab = len(head.weight)
    size = vocabulary_chunk(vocab)
    parts = [slice(start, min(start + size, positions)) for start in range(0, positions, size)]
    return parts, Room(head, padded_positions(positions, vocab))


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, hidden, weight, bias, tokens, head
    ):
        normalisers = hidden.new_empty(len(tokens), dtype=torch.float32)
        total = hidden.new_zeros((), dtype=torch.float32)
        parts, room = chunks(len(tokens), head)
        for part in parts:
            logits = room.logits(hidden[part])
            normalisers[part] = room.normalisers(logits)
            total += (normalisers[part] - _of(logits, tokens[part])).sum()
        ctx.save_for_backward(hidden, weight, bias, tokens, normalisers)
        ctx.factor, ctx.cap = head.factor, head.cap
        return total

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        hidden, weight, bias, tokens, normalisers = ctx.saved_tensors
        head = VocabularyHead(weight, bias, ctx.factor, ctx.cap)
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        parts, room = chunks(len(tokens), head)
        for part in parts:
            scores = _score_gradient(head, room, hidden[part], tokens[part], normalisers[part], gradient)
            if of_hidden is not None:
                of_hidden[part] = torch.mm(scores, weight)[: part.stop - part.start]
            if of_weight is not None:
                of_weight.addmm_(scores.T, room.padded(hidden[part]))
            if of_bias is not None:
                of_bias += scores.sum(0)
        return of_hidden, of_weight, of_bias, None, None


def _score_gradient(
    head: VocabularyHead,
    room: Room,
    hidden: torch.Tensor,
    tokens: torch.Tensor,
    normalisers: torch.Tensor,
    gradient: torch.Tensor,
) -> torch.Tensor:
    """Gradient of W x + b, in the dtype of `hidden`, with rows of zeros below: softmax less one at the token,
    through factor and cap."""
    logits = room.logits(hidden)
    slope = room.slope(logits) if head.cap else None
    logits.sub_(normalisers[:, None]).exp_()
    logits[torch.arange(len(tokens), device=tokens.device), tokens] -= 1.0
    logits.mul_(gradient * head.factor)
    return room.low(logits if slope is None else logits.mul_(slope))
