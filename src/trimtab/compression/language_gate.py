"""Are two language models the same? Each is read alone, on the same rows, and what was read is compared: no two
models in memory at once, and of the logits over the vocabulary those of 32 positions at most.

Leaves out what a difference is allowed to be: each step of compression has its own tolerance.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np

from trimtab.data.spec import Example
from trimtab.errors import ArtifactError
from trimtab.evaluation import Artifact
from trimtab.evaluation.chat import prompt_ids
from trimtab.evaluation.generate import Answer, continuation
from trimtab.evaluation.language import TokenReadings, read_tokens
from trimtab.metrics import Difference, paired_difference

_BEGINNING_TOKENS = 32  # of a plain text that is to go on


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageReadings:
    """What one model made of some rows: `logits` float32 (rows, vocabulary) as `Objective.outputs` gives them,
    every learned token, and what it wrote after each prompt."""

    logits: np.ndarray
    tokens: TokenReadings
    answers: tuple[Answer, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageDifference:
    """How far the model after is from the model before. Of the logits of `rows` rows the largest and the mean
    absolute difference, and the largest logit before; of `tokens` learned tokens the share where both hold the
    same token for the most likely, and the mean losses. `loss_change`: after less before, mean over rows, with its
    interval. Of `prompts` prompts, how many were answered with the same words."""

    rows: int
    largest_logit: float
    largest_difference: float
    mean_difference: float
    tokens: int
    agreement: float
    loss_before: float
    loss_after: float
    loss_change: Difference
    prompts: int
    same_answers: int

    @property
    def relative_difference(self) -> float:
        """The largest difference, as a share of the largest logit."""
        return self.largest_difference / self.largest_logit if self.largest_logit else math.inf

    @property
    def perplexity_before(self) -> float:
        return math.exp(self.loss_before)

    @property
    def perplexity_after(self) -> float:
        return math.exp(self.loss_after)


def read_language(
    artifact: Artifact, examples: Iterable[Example], *, prompts: int = 8, most_tokens: int = 16
) -> LanguageReadings:
    """Run a language model over `examples`, which are iterated over twice, and have it answer the first `prompts`
    of them greedily, with `most_tokens` tokens at most. Raises DataError where there is nothing to learn."""
    encoded = artifact.encode(examples)
    objective, longest = artifact.objective, artifact.facts.strategy.max_length
    objective.require_targets(encoded, "gate", longest)
    collator = objective.collator(artifact.tokenizer, longest).beside(artifact.facts.strategy)
    return LanguageReadings(
        logits=artifact.logits(encoded),
        tokens=read_tokens(artifact.model, encoded, collator),
        answers=tuple(
            continuation(artifact.model, artifact.tokenizer, _prompt(artifact, one), most_tokens=most_tokens)
            for one in islice(iter(examples), prompts)
        ),
    )


def compare_language(before: LanguageReadings, after: LanguageReadings) -> LanguageDifference:
    """Raises ArtifactError TT-C414 where both were not read on the same tokens: their tokenizers differ."""
    rows = before.tokens.rows
    if before.logits.shape != after.logits.shape or not np.array_equal(rows, after.tokens.rows):
        raise ArtifactError("TT-C414", before=len(rows), after=len(after.tokens.rows))
    apart = np.abs(after.logits.astype(np.float64) - before.logits)
    return LanguageDifference(
        rows=len(before.logits),
        largest_logit=float(np.abs(before.logits).max()),
        largest_difference=float(apart.max()),
        mean_difference=float(apart.mean()),
        tokens=len(rows),
        agreement=float((before.tokens.likely == after.tokens.likely).mean()),
        loss_before=float(before.tokens.losses.mean(dtype=np.float64)),
        loss_after=float(after.tokens.losses.mean(dtype=np.float64)),
        loss_change=paired_difference(_row_losses(after.tokens), _row_losses(before.tokens)),
        prompts=len(before.answers),
        same_answers=sum(one == other for one, other in zip(before.answers, after.answers, strict=True)),
    )


def _row_losses(tokens: TokenReadings) -> np.ndarray:
    """Mean loss of every row that has learned tokens, float64."""
    sums, counts = np.bincount(tokens.rows, tokens.losses), np.bincount(tokens.rows)
    return sums[counts > 0] / counts[counts > 0]


def _prompt(artifact: Artifact, example: Example) -> list[int]:
    if example.conversation is not None and artifact.facts.task == "instruct":
        return prompt_ids(artifact.tokenizer, example.conversation.prompt)
    ids = list(artifact.tokenizer(example.texts[0])["input_ids"])[:_BEGINNING_TOKENS]
    return ids or [int(artifact.tokenizer.eos_token_id)]
