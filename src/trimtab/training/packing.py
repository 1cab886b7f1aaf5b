"""Rows laid end to end in one sequence, each attended by itself: what padding would add is never computed.

Attention runs row by row on pieces of the sequence, without a mask, and positions begin anew with every row, so
that loss and gradients are those of the padded batch. Leaves out: cutting rows apart to fill a length (a row stays
whole), and the making of the sequence (`evaluation.encode.EndToEnd`).
"""

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from trimtab.errors import ModelError
from trimtab.evaluation import vocabulary
from trimtab.evaluation.encode import end_to_end
from trimtab.training.kernels import attention_forward

_NAME = "trimtab_rows"
_SAME = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 1e-2}  # of the length of a token's vector
_ROWS = (5, 9)  # tokens of the rows that a model is held to


def use_packing(model: PreTrainedModel, max_length: int) -> None:
    """Put attention by rows into `model`, in place, and hold it to rows run alone. Raises ModelError TT-M076 where
    the model's own class does not keep rows apart, or looks back over less than `max_length` (a sliding
    window)."""
    AttentionInterface.register(_NAME, _attention_by_rows)
    AttentionMaskInterface.register(_NAME, _mask)
    family = str(model.config.model_type)
    if not getattr(model, "_supports_sdpa", False) or attention_window(model) < max_length:
        raise ModelError("TT-M076", family=family)
    model.set_attn_implementation(_NAME)
    if not _keeps_rows_apart(model):
        raise ModelError("TT-M076", family=family)


def _attention_by_rows(module, query, key, value, attention_mask, cu_seq_lens_q=None, **kwargs):  # type: ignore[no-untyped-def]
    """transformers' attention interface: (B, H, L, D) in, (B, L, H, D) out. `cu_seq_lens_q`: where rows begin, and
    the end of the last; None = a padded batch."""
    if cu_seq_lens_q is None:
        return attention_forward(module, query, key, value, attention_mask, **kwargs)
    lengths = cu_seq_lens_q.diff().tolist()
    # Not by slices, whose gradients would each be as large as the whole sequence.
    rows = zip(*(x.split(lengths, dim=2) for x in (query, key, value)), strict=True)
    found = [attention_forward(module, *row, None, **kwargs)[0] for row in rows]
    return torch.cat(found, dim=1), None


def _mask(*args, attention_mask=None, **kwargs):  # type: ignore[no-untyped-def]
    """None where there is no padding: a row attends to all of itself that stands before."""
    return None if attention_mask is None else sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


def attention_window(model: PreTrainedModel) -> float:
    """To how many tokens some layer's attention is held; infinity where none is."""
    config = model.config
    layers = getattr(config, "layer_types", None) or ()
    used = "sliding_attention" in layers or (not layers and getattr(config, "use_sliding_window", True))
    window = getattr(config, "sliding_window", None)
    return window if used and window else float("inf")


@torch.no_grad()
def _keeps_rows_apart(model: PreTrainedModel) -> bool:
    """Whether rows laid end to end give what each gives alone."""
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    rows = [torch.arange(1, length + 1, device=device) for length in _ROWS]
    inputs = {name: x.to(device) for name, x in end_to_end(rows, pad_token_id=0).items()}
    try:
        together = vocabulary.hidden_states(model, inputs)[0]
        alone = torch.cat([vocabulary.hidden_states(model, {"input_ids": row[None]})[0] for row in rows])
    except (TypeError, ValueError, AttributeError, IndexError):  # a class that knows nothing of it
        return False
    finally:
        model.train(was_training)
    apart = (together[: len(alone)] - alone).float().norm(dim=1)
    return bool((apart <= _SAME[model.dtype] * alone.float().norm(dim=1)).all())
