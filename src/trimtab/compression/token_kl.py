"""KL divergence of a student's next tokens from a teacher's, a chunk of positions at a time.

As `evaluation.vocabulary` does with cross entropy: of either model the scores of one chunk are there at once, made
once more in backward, where the student's become their own gradient.
"""

import torch

from trimtab.evaluation.vocabulary import Room, VocabularyHead, chunks


def token_kl_sum(
    hidden: torch.Tensor,
    head: VocabularyHead,
    teacher_hidden: torch.Tensor,
    teacher_head: VocabularyHead,
    temperature: float,
) -> torch.Tensor:
    """T^2 KL(teacher / T || student / T), summed over positions, an fp32 scalar. `hidden` (n, student's width) and
    `teacher_hidden` (n, teacher's width): what the heads see, whose vocabularies are the same. Gradients reach
    `hidden` and the student's head."""
    return _ChunkedKL.apply(hidden, head.weight, head.bias, head, teacher_hidden, teacher_head, temperature)


class _ChunkedKL(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[no-untyped-def]
        ctx, hidden, weight, bias, head, teacher_hidden, teacher_head, temperature
    ):
        total = hidden.new_zeros((), dtype=torch.float32)
        for part, room, teacher_room in _rooms(len(hidden), head, teacher_head):
            said, wanted = (
                _logs(room, hidden[part], temperature),
                _logs(teacher_room, teacher_hidden[part], temperature),
            )
            said.sub_(wanted).neg_()
            total += wanted.exp_().mul_(said).sum()
        ctx.save_for_backward(hidden, weight, bias, teacher_hidden)
        ctx.factor, ctx.cap, ctx.teacher_head, ctx.temperature = head.factor, head.cap, teacher_head, temperature
        return total * temperature**2

    @staticmethod
    def backward(ctx, gradient):  # type: ignore[no-untyped-def]
        hidden, weight, bias, teacher_hidden = ctx.saved_tensors
        head = VocabularyHead(weight, bias, ctx.factor, ctx.cap)
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        of_bias = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        for part, room, teacher_room in _rooms(len(hidden), head, ctx.teacher_head):
            scores = _score_gradient(
                head, room, teacher_room, hidden[part], teacher_hidden[part], ctx.temperature, gradient
            )
            if of_hidden is not None:
                of_hidden[part] = torch.mm(scores, weight)[: part.stop - part.start]
            if of_weight is not None:
                of_weight.addmm_(scores.T, room.padded(hidden[part]))
            if of_bias is not None:
                of_bias += scores.sum(0)
        return of_hidden, of_weight, of_bias, None, None, None, None


def _rooms(  # type: ignore[no-untyped-def]
    positions: int, head: VocabularyHead, teacher_head: VocabularyHead
):
    """Positions of each chunk, and where the scores of either model are computed."""
    parts, room = chunks(positions, head)
    _, teacher_room = chunks(positions, teacher_head)
    for part in parts:
        yield part, room, teacher_room


def _logs(room: Room, hidden: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log probabilities, (n, vocabulary), in the memory of the scores."""
    logits = room.logits(hidden).div_(temperature)
    return logits.sub_(room.normalisers(logits)[:, None])


def _score_gradient(
    head: VocabularyHead,
    room: Room,
    teacher_room: Room,
    hidden: torch.Tensor,
    teacher_hidden: torch.Tensor,
    temperature: float,
    gradient: torch.Tensor,
) -> torch.Tensor:
    """Gradient of W x + b: T (student's probabilities - teacher's), through factor and cap; padded as `Room.low`
    gives it."""
    wanted = _logs(teacher_room, teacher_hidden, temperature).exp_()
    logits = room.logits(hidden)
    slope = room.slope(logits).clone() if head.cap else None  # the normalisers take its place
    logits.div_(temperature)
    logits.sub_(room.normalisers(logits)[:, None]).exp_()
    logits.sub_(wanted).mul_(gradient * head.factor * temperature)
    return room.low(logits if slope is None else logits.mul_(slope))
