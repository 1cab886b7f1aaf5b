"""The tasks whose rows have a label or a number: classify, pair, regress."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from trimtab import tuning
from trimtab.data import Split
from trimtab.data.spec import Example, Task
from trimtab.errors import ModelError
from trimtab.evaluation.encode import Collator, Encoded, encode
from trimtab.evaluation.loss import Loss
from trimtab.evaluation.objective import Inputs, Objective, Opening, ScoredRows
from trimtab.evaluation.predict import logits, losses, predictions
from trimtab.methods import Strategy
from trimtab.metrics import Confusion, Findings, Score, WorstExample, confusion_matrix, main_metric
from trimtab.metrics.scoring import score
from trimtab.models.spec import ModelSpec
from trimtab.tuning.shapes import config_of

_WORST = 20


class Labelled(Objective):
    """Classes: cross entropy, accuracy and its like."""

    can_start = False  # the head is freshly made
    target_type: torch.dtype = torch.int64

    def __init__(self, task: Task) -> None:
        self.task = task

    def model(self, opening: Opening) -> PreTrainedModel:
        return tuning.load_classifier(
            opening.source,
            outputs=opening.outputs,
            pad_token_id=opening.pad_token_id,
            labels=opening.labels,
            seed=opening.seed,
            trust_remote_code=opening.trust_remote_code,
        )

    def shape(self, spec: ModelSpec, outputs: int) -> PreTrainedModel:
        config = config_of(spec, num_labels=outputs)
        config.pad_token_id, config.use_cache = 0, False
        try:
            return AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
        except ValueError as error:  # "Unrecognized configuration class"
            raise ModelError("TT-T007", model=spec.name, family=spec.family) from error

    def encode(self, examples: Iterable[Example], tokenizer: Tokenizer, max_length: int) -> Encoded:
        return encode(examples, tokenizer, max_length)

    def targets(self, encoded: Encoded, collator: Collator, rows: np.ndarray) -> torch.Tensor:
        """Labels, int64 (rows)."""
        return torch.from_numpy(encoded.labels[rows])

    def imagined_targets(self, rows: int, length: int, learned: int) -> torch.Tensor:
        return torch.zeros(rows, dtype=self.target_type)

    def weight(self, encoded: Encoded, rows: np.ndarray) -> int:
        return len(rows)

    def loss_sum(
        self, model: nn.Module, inputs: Inputs, targets: torch.Tensor, strategy: Strategy
    ) -> torch.Tensor:
        return Loss.of(strategy, self.task)(model(**inputs).logits, targets)

    def run(self, model: nn.Module, inputs: Inputs, targets: torch.Tensor) -> None:
        model(**inputs)

    def score(self, model: PreTrainedModel, rows: ScoredRows) -> Score:
        targets = rows.encoded.labels
        outputs = logits(model, rows.encoded, rows.collator)
        return score(
            self.task,
            split=rows.split,
            predictions=predictions(outputs, self.task),
            targets=targets,
            labels=rows.labels,
            loss=float(losses(outputs, targets, self.task).mean()),
            main=rows.main,
        )

    def main_metric(self, label_counts: tuple[int, ...]) -> str:
        return main_metric(self.task, label_counts)

    def outputs(self, model: PreTrainedModel, encoded: Encoded, collator: Collator) -> np.ndarray:
        """Head outputs, (rows, outputs)."""
        return logits(model, encoded, collator)

    def findings(self, model: PreTrainedModel, tokenizer: Tokenizer, rows: ScoredRows, split: Split) -> Findings:
        """The rows with the highest losses, and which labels are taken for which."""
        labels, targets = rows.labels, rows.encoded.labels
        outputs = logits(model, rows.encoded, rows.collator)
        guessed, lost = predictions(outputs, self.task), losses(outputs, targets, self.task)
        worst = {int(row): rank for rank, row in enumerate(np.argsort(-lost, kind="stable")[:_WORST])}
        found: list[tuple[int, WorstExample]] = []
        for row, example in enumerate(split):
            if row in worst:
                shown = WorstExample(
                    texts=example.texts,
                    expected=_shown(targets[row], labels),
                    predicted=_shown(guessed[row], labels),
                    loss=float(lost[row]),
                )
                found.append((worst[row], shown))
        counts = confusion_matrix(guessed, targets, len(labels)).tolist() if labels else None
        return Findings(
            worst=tuple(example for _, example in sorted(found, key=lambda pair: pair[0])),
            confusion=counts and Confusion(labels=labels, counts=tuple(map(tuple, counts))),
        )


class Regression(Labelled):
    """A number: squared error, correlations."""

    target_type = torch.float32


def _shown(value: float, labels: tuple[str, ...]) -> str:
    return labels[int(value)] if labels else f"{value:.3f}"
