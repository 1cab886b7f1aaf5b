"""The tasks whose rows have texts and a target of their own: classify, pair, multilabel, regress."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import data, tuning
from trimtab.artifacts import ArtifactFacts
from trimtab.data import Split
from trimtab.data.spec import Example
from trimtab.errors import ArtifactError, ModelError
from trimtab.evaluation.encode import Collator, Encoded, encode
from trimtab.evaluation.objective import Inputs, OnePass, Opening, ScoredRows
from trimtab.evaluation.predict import logits
from trimtab.evaluation.prediction import Prediction
from trimtab.evaluation.targets import Target
from trimtab.methods import Strategy
from trimtab.metrics import Findings, Score, WorstExample, paired_difference
from trimtab.models.spec import ModelSpec
from trimtab.tuning.shapes import config_of

_WORST = 20
_RESAMPLED = 400


class Labelled(OnePass):
    """A classifier of texts, or of pairs of texts; `target` says what a row has. Final."""

    can_start = False  # the head is freshly made

    def __init__(self, target: Target) -> None:
        self.target = target

    def model(self, opening: Opening) -> PreTrainedModel:
        model = tuning.load_classifier(
            opening.source,
            outputs=opening.outputs,
            pad_token_id=opening.pad_token_id,
            labels=opening.labels,
            seed=opening.seed,
            trust_remote_code=opening.trust_remote_code,
        )
        model.config.problem_type = self.target.problem_type
        return model

    def shape(self, spec: ModelSpec, outputs: int) -> PreTrainedModel:
        config = config_of(spec, num_labels=outputs)
        config.pad_token_id, config.use_cache = 0, False
        try:
            return tuning.shrink_built(AutoModelForSequenceClassification.from_config(config, dtype=torch.float32))
        except ValueError as error:  # "Unrecognized configuration class"
            raise ModelError("TT-T007", model=spec.name, family=spec.family) from error

    def encode(self, examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
        return encode(examples, tokenizer, max_length)

    def targets(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> torch.Tensor:
        """Labels, (rows)."""
        return torch.from_numpy(encoded.labels[rows])

    def imagined_targets(self, rows: int, texts: int, learned: int) -> torch.Tensor:
        return self.target.imagined(rows)

    def weight(self, encoded: Encoded, rows: np.ndarray) -> int:
        return len(rows)

    def given(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> torch.Tensor:
        """Head outputs, (rows, outputs)."""
        return model(**inputs).logits

    def loss_of(
        self, model: nn.Module, given: torch.Tensor, targets: torch.Tensor, strategy: Strategy
    ) -> torch.Tensor:
        return self.target.loss_sum(given, targets, strategy)

    def known(self, targets: torch.Tensor) -> torch.Tensor:
        return self.target.known(targets)

    def run(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> None:
        model(**inputs)

    def score(self, model: PreTrainedModel, rows: ScoredRows) -> Score:
        return self.judged(logits(model, rows.encoded, rows.collator), rows)

    def judged(self, outputs: np.ndarray, rows: ScoredRows) -> Score:
        return self._score(outputs, rows.encoded.labels, rows)

    def agreement(self, before: np.ndarray, after: np.ndarray) -> float | None:
        return self.target.agreement(self.target.predictions(before), self.target.predictions(after))

    def gain_interval(self, before: np.ndarray, after: np.ndarray, rows: ScoredRows) -> tuple[float, float]:
        """Student's over the rows where the metric is a mean over them, else percentiles over resampled rows, the
        same for both models."""
        draw, targets = np.random.default_rng(0), rows.encoded.labels
        if rows.main == "accuracy":
            right = [self.target.predictions(outputs) == targets for outputs in (after, before)]
            found = paired_difference(*right)
            return found.low, found.high
        gains = []
        for _ in range(_RESAMPLED):
            chosen = draw.integers(len(targets), size=len(targets))
            scores = [self._score(outputs[chosen], targets[chosen], rows) for outputs in (before, after)]
            gains.append(scores[1].main.value - scores[0].main.value)
        low, high = np.quantile(gains, (0.025, 0.975))
        return float(low), float(high)

    def _score(self, outputs: np.ndarray, targets: np.ndarray, rows: ScoredRows) -> Score:
        return self.target.score(
            self.target.predictions(outputs),
            targets,
            split=rows.split,
            labels=rows.labels,
            loss=float(self.target.losses(outputs, targets).mean()),
            main=rows.main,
        )

    def main_metric(self, label_counts: tuple[int, ...]) -> str:
        return self.target.main_metric(label_counts)

    def outputs(self, model: PreTrainedModel, encoded: Encoded, collator: Collator) -> np.ndarray:
        """Head outputs, (rows, outputs)."""
        return logits(model, encoded, collator)

    def findings(self, model: PreTrainedModel, tokenizer: Tokenizer, rows: ScoredRows, split: Split) -> Findings:
        """The rows with the highest losses, and which labels are taken for which."""
        target, targets, labels = self.target, rows.encoded.labels, rows.labels
        outputs = logits(model, rows.encoded, rows.collator)
        guessed, lost = target.predictions(outputs), target.losses(outputs, targets)
        worst = {int(row): rank for rank, row in enumerate(np.argsort(-lost, kind="stable")[:_WORST])}
        found: list[tuple[int, WorstExample]] = []
        for row, example in enumerate(split):
            if row in worst:
                shown = WorstExample(
                    texts=example.texts,
                    expected=target.shown(targets[row], labels),
                    predicted=target.shown(guessed[row], labels),
                    loss=float(lost[row]),
                )
                found.append((worst[row], shown))
        return Findings(
            worst=tuple(example for _, example in sorted(found, key=lambda pair: pair[0])),
            confusion=target.confusion(guessed, targets, labels),
        )

    def asked(self, text: tuple[str, ...], file: str | None, columns: tuple[str, ...]) -> Iterator[Example]:
        """Of pairs, `text` holds the two texts of one, and the next two. Raises ArtifactError TT-A008 where one
        is missing."""
        inputs = _grouped(text, columns) if file is None else data.read_texts(file, columns)
        return (Example(texts, None) for texts in inputs)

    def rows_of(self, facts: ArtifactFacts, examples: Sequence[Example]) -> list[Example]:
        """Raises ArtifactError TT-A008 where an example has another number of texts than the model was trained
        on."""
        for example in examples:
            if len(example.texts) != len(facts.columns):
                raise _other_number(len(example.texts), facts.columns)
        return list(examples)

    def outputs_in(
        self, model: nn.Module, output: Any, inputs: Inputs, encoded: Encoded, collator: Collator, rows: np.ndarray
    ) -> torch.Tensor:
        """Head outputs, (rows, outputs)."""
        return output.logits.float()

    def predictions(
        self, outputs: np.ndarray, encoded: Encoded, facts: ArtifactFacts, examples: Sequence[Example]
    ) -> Iterator[Prediction]:
        return (self.target.prediction(row, facts.labels) for row in outputs)


def _grouped(text: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if len(text) % len(columns):
        raise _other_number(len(text), columns)
    for start in range(0, len(text), len(columns)):
        yield text[start : start + len(columns)]


def _other_number(given: int, columns: tuple[str, ...]) -> ArtifactError:
    return ArtifactError("TT-A008", wanted=len(columns), given=given, columns=", ".join(columns))
