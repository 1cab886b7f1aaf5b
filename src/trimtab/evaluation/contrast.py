"""Losses of embeddings: what a row teaches of vectors. Sums over rows, in fp32, over one micro-batch.

Ranked rows: InfoNCE (van den Oord et al. 2018, arXiv 1807.03748). Each query is to find its own positive among the
positives of all rows and all hard negatives of the micro-batch, by cosine over a temperature.

Scored pairs: CoSENT (Su 2022, kexue.fm/archives/8847). Of two pairs the one with the higher score is to have the
higher cosine.

Leaves out negatives beyond the micro-batch: the gradients of other micro-batches' vectors are gone.
"""

import numpy as np
import torch
from torch.nn import functional as F

from trimtab.evaluation.encode import Apart


def left_out(apart: Apart, rows: np.ndarray) -> np.ndarray:
    """Which texts are no negatives of a query though another row's, bool (rows, texts that may be found), in the
    order of `Apart.order`: those equal to the query or to its positive, and positives of an equal query. Column i
    is the positive of row i, and is in."""
    order = apart.order(rows)
    queries, candidates = apart.keys[order[: len(rows)]], apart.keys[order[len(rows) :]]
    positives = candidates[: len(rows)]
    found = (candidates == queries[:, None]) | (candidates == positives[:, None])
    found[:, : len(rows)] |= queries == queries[:, None]
    np.fill_diagonal(found, False)
    return found


def info_nce_sum(vectors: torch.Tensor, out: torch.Tensor, temperature: float) -> torch.Tensor:
    """`vectors` fp32 (queries + what may be found, width) of length 1; `out` as `left_out` gives it."""
    rows = len(out)
    scores = vectors[:rows] @ vectors[rows:].T / temperature
    scores = scores.masked_fill(out, float("-inf"))
    return F.cross_entropy(scores, torch.arange(rows, device=scores.device), reduction="sum")


def cosent_sum(vectors: torch.Tensor, scores: torch.Tensor, temperature: float) -> torch.Tensor:
    """log(1 + sum of exp((cos_j - cos_i) / temperature)) over pairs i, j of which i has the higher score, counted
    once for each row. `vectors` fp32 (2 x rows, width) of length 1, first texts first; `scores` (rows)."""
    rows = len(scores)
    cosines = (vectors[:rows] * vectors[rows:]).sum(1) / temperature
    differences = cosines[None, :] - cosines[:, None]
    lower = scores[:, None] > scores[None, :]
    differences = differences.masked_fill(~lower, float("-inf")).flatten()
    return rows * torch.logsumexp(torch.cat([differences.new_zeros(1), differences]), 0)
