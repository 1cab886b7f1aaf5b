"""Run a model over tokenised rows: logits, in batches of like length, in the order of the rows."""

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from trimtab.data.spec import EVALUATION_TOKENS, padded_length
from trimtab.evaluation.encode import Collator, Encoded


@torch.inference_mode()
def logits(
    model: PreTrainedModel, encoded: Encoded, collator: Collator, *, tokens: int = EVALUATION_TOKENS
) -> np.ndarray:
    """Head outputs, float32 (rows, outputs). Batches hold at most `tokens` padded tokens. The model is put into
    evaluation mode and stays there."""
    model.eval()
    device = device_of(model)
    results: np.ndarray | None = None
    for rows in row_batches(encoded.lengths, tokens, collator.max_length):
        inputs = {name: x.to(device) for name, x in collator.batch(encoded, rows).items()}
        out = model(**inputs).logits.float().cpu().numpy()
        if results is None:
            results = np.empty((len(encoded), out.shape[1]), dtype=np.float32)
        results[rows] = out
    assert results is not None, "no rows to run"
    return results


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights are; of one whose weights torch does not hold, the CPU."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def cross_entropies(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross entropy of every row."""
    return -np.log(np.maximum(probabilities(outputs)[np.arange(len(labels)), labels], 1e-30))


def probabilities(outputs: np.ndarray) -> np.ndarray:
    """Softmax over the labels, (rows, labels)."""
    exponents = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return exponents / exponents.sum(axis=1, keepdims=True)


def row_batches(lengths: np.ndarray, tokens: int, max_length: int) -> list[np.ndarray]:
    """Rows by falling length, cut so that rows x longest <= tokens: memory peaks in the first batch."""
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        rows = max(1, tokens // padded_length(int(max(1, lengths[order[start]])), max_length))
        batches.append(order[start : start + rows])
        start += rows
    return batches
