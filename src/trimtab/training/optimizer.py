"""The optimiser: AdamW over fp32 copies of what is trained.

In fp32 the copies are the parameters themselves. In bf16 or fp16 the model computes with low-precision weights
while AdamW keeps an fp32 master of every trained one ("Mixed Precision Training", Micikevicius et al. 2017):
small updates are not rounded away, and gradients of micro-batches are summed in fp32. fp16 losses are scaled,
and a step whose scaled gradients overflow is skipped while the scale is halved.

Bytes a trained parameter: fp32 4 + 4 gradient + 8 states; bf16/fp16 2 + 4 master + 4 gradient + 8 states. The
token embedding is a case of its own (`Table`): the rows that the training texts read have a master in fp32 too,
the others nothing.
"""

from functools import partial

import torch
from torch import nn

from trimtab.methods import Strategy
from trimtab.training.table import Table, token_table

_FIRST_FP16_SCALE = 2.0**13


class Optimizer:
    """AdamW with decay on matrices only. One `step` follows one or more `collect`s and a `clip`.

    `tokens`: ids of all tokens that training will read, int64, ascending; None where they are not known, and the
    token embedding is updated as a whole.
    """

    def __init__(self, model: nn.Module, strategy: Strategy, tokens: torch.Tensor | None = None) -> None:
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._tables: dict[str, Table] = {}
        found = None if tokens is None else token_table(model)
        if found is not None and tokens is not None:
            name, embedding = found
            embedding.sparse = True
            self._tables[name] = Table(parameters[name], tokens)
        self._shared = strategy.precision == "fp32"
        self._parameters = {name: p for name, p in parameters.items() if name not in self._tables}
        self.masters = {
            name: self._tables[name].master if name in self._tables else self._master(p)
            for name, p in parameters.items()
        }
        settings = strategy.optimizer
        matrices = [p for p in self.masters.values() if not _is_vector(p)]
        vectors = [p for p in self.masters.values() if _is_vector(p)]
        self._adamw = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ],
            lr=0.0,
            betas=settings.betas,
            eps=settings.epsilon,
            fused=True,
        )
        self.loss_scale = _FIRST_FP16_SCALE if strategy.precision == "fp16" else 1.0
        if not self._shared:
            for name, parameter in self._parameters.items():
                parameter.register_post_accumulate_grad_hook(partial(self._take, self.masters[name]))

    def _master(self, parameter: nn.Parameter) -> torch.Tensor:
        if self._shared:
            return parameter
        return parameter.detach().float().clone().requires_grad_()

    def _take(self, master: torch.Tensor, parameter: torch.Tensor) -> None:
        """Add a low-precision gradient to the fp32 sum as soon as backward has made it, and free it: all of them
        together would be half as large as the sums."""
        gradient, parameter.grad = parameter.grad, None
        assert gradient is not None, "called when a gradient has been made"
        if self.loss_scale != 1.0:
            gradient = gradient.float().div_(self.loss_scale)
        master.grad = gradient.float() if master.grad is None else master.grad.add_(gradient)

    def collect(self) -> None:
        """After backward: take the gradient of the token embedding too. All others are in the sums by then."""
        for table in self._tables.values():
            table.collect(self.loss_scale)

    def clip(self, max_norm: float) -> float:
        """Return the norm of the gradients; `step` will scale them to at most `max_norm` (0 = leave them)."""
        norm = self.gradient_norm()
        # The fused kernel divides as it reads: a pass over all gradients less than clipping them here.
        excess = float(norm) / max_norm if max_norm > 0 else 0.0
        self._adamw.grad_scale = norm / max_norm if excess > 1.0 else None  # type: ignore[attr-defined]
        return float(norm)

    def gradient_norm(self) -> torch.Tensor:
        """Euclidean norm of all gradients together, a scalar."""
        return torch.nn.utils.get_total_norm(m.grad for m in self.masters.values() if m.grad is not None)

    def step(self, learning_rate: float) -> None:
        """One AdamW update at `learning_rate`, then the low-precision weights follow their masters."""
        for group in self._adamw.param_groups:
            group["lr"] = learning_rate
        self._adamw.step()
        self.write_back()
        self.zero()

    def write_back(self) -> None:
        """Copy the masters into the weights the model computes with. In fp32 most are those weights."""
        for table in self._tables.values():
            table.write_back()
        if self._shared:
            return
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                parameter.copy_(self.masters[name])

    def skip(self) -> bool:
        """After an overflow: drop the gradients and halve the fp16 scale. False where there is no scale to
        halve, so that the overflow is a divergence."""
        self.zero()
        if self.loss_scale <= 1.0:
            return False
        self.loss_scale /= 2
        return True

    def zero(self) -> None:
        """Drop the gradients."""
        for name, parameter in self._parameters.items():
            self.masters[name].grad = parameter.grad = None
        for table in self._tables.values():
            table.clear()

    def reserve(self) -> None:
        """Make the states that the first step would make, so that memory can be judged before it."""
        for master in self.masters.values():
            master.grad = torch.zeros_like(master)
        self.step(0.0)

    def forget(self) -> None:
        """Drop the states, as before the first step."""
        self._adamw.state.clear()

    def state(self) -> dict[str, torch.Tensor]:
        """Everything a resumed run needs, flat: what `weights` gives, steps/NAME and, once that is above 0,
        average/NAME and square/NAME."""
        tensors = self.weights()
        for name, master in self.masters.items():
            state = self._adamw.state.get(master)
            tensors[f"steps/{name}"] = state["step"] if state else torch.zeros(())
            if state:
                tensors[f"average/{name}"] = state["exp_avg"]
                tensors[f"square/{name}"] = state["exp_avg_sq"]
        return tensors

    def weights(self) -> dict[str, torch.Tensor]:
        """The trained weights in fp32: master/NAME, and rows/NAME where it holds rows of a table only."""
        tensors = {f"master/{name}": master.detach() for name, master in self.masters.items()}
        return tensors | {f"rows/{name}": table.rows for name, table in self._tables.items()}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """The reverse of `state`. Raises KeyError where a tensor is missing."""
        self.restore_masters(tensors)
        for name, master in self.masters.items():
            if not tensors[f"steps/{name}"]:
                continue  # every step so far was skipped
            self._adamw.state[master] = {
                "exp_avg": self._state(name, "average", tensors),
                "exp_avg_sq": self._state(name, "square", tensors),
                "step": tensors[f"steps/{name}"].to(master.device, copy=True),
            }

    def _state(self, name: str, kind: str, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
        master, kept = self.masters[name], tensors[f"{kind}/{name}"]
        if name not in self._tables:
            return kept.to(master.device)
        return self._tables[name].aligned(tensors[f"rows/{name}"], kept, torch.zeros_like(master))

    def restore_masters(self, tensors: dict[str, torch.Tensor]) -> None:
        """Set the trained weights alone (best weights, resumed weights)."""
        with torch.no_grad():
            for name, master in self.masters.items():
                kept = tensors[f"master/{name}"]
                if name in self._tables:
                    self._tables[name].restore(tensors[f"rows/{name}"], kept)
                else:
                    master.copy_(kept)
        self.write_back()


def _is_vector(parameter: torch.Tensor) -> bool:
    """Also one that is stored as a single row or column, as the scalings of (IA)^3 are: decay would pull these
    towards 0, where their neutral value is 1."""
    return parameter.numel() == max(parameter.shape, default=1)


def learning_rate_at(strategy: Strategy, step: int, steps: int) -> float:
    """Learning rate of step `step` (1 = first) of `steps`: linear warm-up, then linear or cosine decay to 0."""
    schedule = strategy.schedule
    warmup = max(1, round(schedule.warmup_share * steps)) if schedule.warmup_share > 0 else 0
    if step <= warmup:
        return schedule.learning_rate * step / warmup
    return schedule.learning_rate * _DECAYS[schedule.decay]((step - 1 - warmup) / max(1, steps - warmup))


def _linear(progress: float) -> float:
    return 1.0 - progress


def _cosine(progress: float) -> float:
    return 0.5 * (1.0 + float(torch.cos(torch.tensor(torch.pi * progress, dtype=torch.float64))))


_DECAYS = {"linear": _linear, "cosine": _cosine}
