"""Table: the rows of a token embedding that training can change, with their own gradient, master and states.

AdamW over a whole table spends 16 bytes and a visit a step on every number of it, though most rows stand for
tokens that the training texts do not hold: 95 % of a multilingual vocabulary of 250,000. Their gradient is always
0, and all AdamW ever does to them is weight decay. Here they are left as they are, and every other row is updated
just as AdamW would. Leaves out: tables that share their weights with another module (a language-model head),
whose gradient is dense.
"""

import torch
from torch import nn

_PIECE = 1024  # rows


class Table:
    """The trained rows of one embedding. `rows` (int64, ascending) are all that training will ever read."""

    def __init__(self, parameter: nn.Parameter, rows: torch.Tensor) -> None:
        self._parameter = parameter
        self.rows = rows.to(parameter.device)
        self._place = torch.full((len(parameter),), -1, device=parameter.device)
        self._place[self.rows] = torch.arange(len(rows), device=parameter.device)
        self.master = parameter.detach()[self.rows].float().requires_grad_()
        self._gradient = torch.zeros_like(self.master, requires_grad=False)
        self._read: list[torch.Tensor] = []

    def collect(self, scale: float) -> None:
        """Add the embedding's gradient, divided by `scale`, to the sum, and free it."""
        gradient, self._parameter.grad = self._parameter.grad, None
        if gradient is None:
            return
        if gradient.is_sparse:
            rows, values = self._place[gradient._indices()[0]], gradient._values()
        else:  # the weight was read past its embedding
            rows, values = self._place[self.rows], gradient[self.rows]
        self._gradient.index_add_(0, rows, values.float() / scale)
        self._read.append(rows)
        self.master.grad = self._gradient

    def clear(self) -> None:
        """Empty the sum: row by row, since a batch reads few."""
        for rows in self._read:
            self._gradient.index_fill_(0, rows, 0.0)
        self._read.clear()
        self.master.grad = None
        self._parameter.grad = None

    @torch.no_grad()
    def write_back(self) -> None:
        """Copy the master into the rows the model computes with, in pieces that stay in the cache."""
        piece = _PIECE if self.rows.device.type == "cpu" else max(1, len(self.rows))
        for rows, master in zip(self.rows.split(piece), self.master.split(piece), strict=True):
            self._parameter.index_copy_(0, rows, master.to(self._parameter.dtype))

    @torch.no_grad()
    def restore(self, rows: torch.Tensor, master: torch.Tensor) -> None:
        """Take over a master that was kept for `rows`, which are other rows where the data has changed: what only
        the old texts read keeps what it learned, what only the new ones read starts as it is."""
        rows, master = rows.to(self.rows.device), master.to(self.rows.device)
        self._parameter.index_copy_(0, rows, master.to(self._parameter.dtype))
        self.master.copy_(self.aligned(rows, master, self.master))

    def aligned(self, rows: torch.Tensor, kept: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
        """`kept`, whose rows are `rows`, as this table's rows; `fresh` where it has none. A new tensor."""
        place, out = self._place[rows.to(self.rows.device)], fresh.detach().clone()
        known = place >= 0
        return out.index_copy_(0, place[known], kept.to(out.device)[known])


def token_table(model: nn.Module) -> tuple[str, nn.Embedding] | None:
    """Name of the weight and module of the token embedding, where it is nobody else's and its gradient can be
    sparse."""
    try:
        module = model.get_input_embeddings()  # type: ignore[operator]
    except (AttributeError, NotImplementedError):  # a class of its own kind
        return None
    if not isinstance(module, nn.Embedding):
        return None
    if module.scale_grad_by_freq or module.max_norm is not None:
        return None
    # named_modules gives each module once, so a second owner of the weight is another module.
    owners = [at for at, owner in model.named_modules() if getattr(owner, "weight", None) is module.weight]
    return (f"{owners[0]}.weight", module) if len(owners) == 1 else None
