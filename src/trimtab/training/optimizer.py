"""The optimiser: a strategy's update rule over fp32 copies of what is trained.

In fp32 the copies are the parameters themselves. In bf16 or fp16 the model computes with low-precision weights
while an fp32 master is kept of every trained one ("Mixed Precision Training", Micikevicius et al. 2017):
small updates are not rounded away, and gradients of micro-batches are summed in fp32. fp16 losses are scaled,
and a step whose scaled gradients overflow is skipped while the scale is halved.

Where the strategy wants it, an exponential moving average of the masters is kept beside them, in fp32 too; it is
what is evaluated and kept (Polyak and Juditsky 1992).

Bytes a trained parameter: fp32 4 + 4 gradient, bf16/fp16 2 + 4 master + 4 gradient; the states of the rule,
AdamW's 8; an average 4 more. Of several stages each has an optimiser of its own: what it does not train has no
master and no states. The token embedding is a case of its own (`Table`): the rows that the training texts
read have a master in fp32 too, the others nothing.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from trimtab.methods import Decay, Schedule, Strategy, UpdateRule
from trimtab.training.rules import torch_optimizer
from trimtab.training.table import Table, token_table

_FIRST_FP16_SCALE = 2.0**13


class Optimizer:
    """An update rule with decay on matrices only. One `step` follows one or more `collect`s and a `clip`.

    `tokens`: ids of all tokens that training will read, int64, ascending; None where they are not known, and the
    token embedding is updated as a whole. `rate_shares`: by name of a parameter, its learning rate over the one
    that `step` is given; 1 where nothing is said. `before`: the optimiser of the stage before, which gives up its
    states and hands over the masters of what is still trained. `settled`: names of what earlier stages have
    trained and this one leaves as it is: it is kept with what is trained.
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: Strategy,
        tokens: torch.Tensor | None = None,
        rate_shares: Mapping[str, float] | None = None,
        *,
        before: "Optimizer | None" = None,
        settled: Iterable[str] = (),
    ) -> None:
        if before is not None:
            before.give_up()
        parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._settled = {name: model.get_parameter(name) for name in settled}
        self._settled_rows: dict[str, torch.Tensor] = {}
        self._tables: dict[str, Table] = {}
        found = None if tokens is None else token_table(model)
        if found is not None and tokens is not None and found[0] in self._settled:
            self._settled_rows[found[0]] = tokens.to(found[1].weight.device)
        if found is not None and tokens is not None and found[0] in parameters:
            name, embedding = found
            embedding.sparse = True
            kept = {} if before is None else before._tables
            self._tables[name] = kept.get(name) or Table(parameters[name], tokens)
        self._shared = strategy.precision == "fp32"
        self._parameters = {name: p for name, p in parameters.items() if name not in self._tables}
        masters = {} if before is None else before.masters
        self.masters: dict[str, torch.Tensor] = {
            name: self._tables[name].master
            if name in self._tables
            else masters[name]
            if name in masters
            else self._master(p)
            for name, p in parameters.items()
        }
        self.updates = 0  # since the first, skipped ones left out
        self._ema_decay = strategy.ema_decay
        averaged = self.masters if self._ema_decay is not None else {}
        self.averages = {name: master.detach().clone() for name, master in averaged.items()}
        self._rule = torch_optimizer(strategy.optimizer, self._groups(strategy, rate_shares or {}))
        self.loss_scale = _FIRST_FP16_SCALE if strategy.precision == "fp16" else 1.0
        if before is not None:
            self.loss_scale = before.loss_scale
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(partial(self._take, self.masters[name]))
            for name, parameter in self._parameters.items()
            if not self._shared
        ]

    def _groups(self, strategy: Strategy, rate_shares: Mapping[str, float]) -> list[dict[str, Any]]:
        """What is updated alike: without decay on vectors, and by learning rate."""
        alike: dict[tuple[float, float], list[torch.Tensor]] = {}
        for name, master in self.masters.items():
            decay = 0.0 if _is_vector(master) else strategy.optimizer.weight_decay
            alike.setdefault((rate_shares.get(name, 1.0), decay), []).append(master)
        return [
            {"params": masters, "weight_decay": decay, "rate_share": share}
            for (share, decay), masters in alike.items()
        ]

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
        excess = float(norm) / max_norm if max_norm > 0 else 0.0
        if isinstance(self._rule, torch.optim.AdamW):
            # The fused kernel divides as it reads: a pass over all gradients less than clipping them here.
            self._rule.grad_scale = norm / max_norm if excess > 1.0 else None  # type: ignore[attr-defined]
        elif 1.0 < excess < math.inf:
            for master in self.masters.values():
                if master.grad is not None:
                    master.grad.div_(excess)
        return float(norm)

    def gradient_norm(self) -> torch.Tensor:
        """Euclidean norm of all gradients together, a scalar."""
        return torch.nn.utils.get_total_norm(m.grad for m in self.masters.values() if m.grad is not None)

    def step(self, learning_rate: float) -> None:
        """One update at `learning_rate`, then the low-precision weights follow their masters."""
        for group in self._rule.param_groups:
            group["lr"] = learning_rate * group["rate_share"]
        self._rule.step()
        self.updates += 1
        self._average()
        self.write_back()
        self.zero()

    @torch.no_grad()
    def _average(self) -> None:
        if self._ema_decay is None:
            return
        fresh = 1.0 - ema_decay_at(self._ema_decay, self.updates)
        torch._foreach_lerp_(list(self.averages.values()), list(self.masters.values()), fresh)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within, the model computes with the averages, where there are any; afterwards with the masters again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        """Masters and averages change places: nothing is copied, so it takes no memory and is undone exactly."""
        for name, average in self.averages.items():
            master = self.masters[name]
            self.averages[name], master.data = master.data, average
        if self.averages:
            self.write_back()

    def use_average(self) -> None:
        """Train no more: the averages, where there are any, become the weights."""
        if self.averages:
            self.restore_masters(self.kept())

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

    def paged(self, rule: UpdateRule) -> Iterator[torch.Tensor]:
        """The states that `rule` keeps in the host's memory, once they are reserved."""
        for master in self.masters.values():
            if rule.device_bytes(master.shape) < rule.state_bytes(master.shape):
                state = self._rule.state[master]
                yield from (x for x in state.values() if isinstance(x, torch.Tensor) and x.shape == master.shape)

    def give_up(self) -> None:
        """Train no more: the next stage has an optimiser of its own."""
        self.zero()
        self.forget()
        for hook in self._hooks:
            hook.remove()

    def forget(self) -> None:
        """Drop the states, as before the first step."""
        self._rule.state.clear()
        pages = getattr(self._rule, "page_mng", None)
        if pages is not None:
            pages.paged_tensors.clear()  # bitsandbytes holds them there too
        self.updates = 0

    def state(self) -> dict[str, torch.Tensor]:
        """Everything a resumed run needs, flat: what `weights` gives, the number of updates, ema/NAME where there
        are averages, and, after the first update, each state of the rule as KEY/NAME."""
        tensors = self.weights() | {"updates": torch.tensor(self.updates)}
        tensors |= {f"ema/{name}": average for name, average in self.averages.items()}
        for name, master in self.masters.items() if self.updates else ():
            state = self._rule.state[master]
            tensors |= {f"{key}/{name}": torch.as_tensor(value) for key, value in state.items()}
        return tensors

    def weights(self) -> dict[str, torch.Tensor]:
        """The weights that have been trained, in fp32: master/NAME, and rows/NAME where it holds rows of a table
        only."""
        rows = self._settled_rows | {name: table.rows for name, table in self._tables.items()}
        tensors = {f"rows/{name}": found for name, found in rows.items()}
        for name, parameter in self._settled.items():
            weight = parameter.detach()
            tensors[f"master/{name}"] = (weight[rows[name]] if name in rows else weight).float()
        return tensors | {f"master/{name}": master.detach() for name, master in self.masters.items()}

    def kept(self) -> dict[str, torch.Tensor]:
        """The weights that are evaluated and kept: the averages where there are any, named as `weights` names
        its own."""
        return self.weights() | {f"master/{name}": average for name, average in self.averages.items()}

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """The reverse of `state`. Raises KeyError where a tensor is missing."""
        updates = int(tensors["updates"])
        if updates:  # else every step so far was skipped
            self.reserve()
        self.restore_masters(tensors)
        self.updates = updates
        for name, average in self.averages.items():
            average.copy_(self._aligned(name, tensors[f"ema/{name}"], tensors, fresh=self.masters[name]))
        for name in self.masters if updates else ():
            self._restore_states(name, tensors)

    def _restore_states(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        state = self._rule.state[self.masters[name]]
        for key, made in state.items():
            kept = tensors[f"{key}/{name}"]
            if not isinstance(made, torch.Tensor):
                state[key] = type(made)(kept)
            elif not self._in_other_blocks(name, state, tensors):
                found = self._aligned(name, kept, tensors, fresh=torch.zeros_like(made))
                state[key] = _in_place_of(made, found, f"{key}/{name}")

    def _in_other_blocks(self, name: str, state: dict[str, Any], tensors: dict[str, torch.Tensor]) -> bool:
        """Whether 8-bit states were kept for other rows of a table: a block of theirs spans rows, and what it
        holds of those that are still read cannot be told apart. They start anew."""
        if name not in self._tables or torch.equal(self._tables[name].rows.cpu(), tensors[f"rows/{name}"].cpu()):
            return False
        return any(isinstance(x, torch.Tensor) and x.dtype == torch.uint8 for x in state.values())

    def _aligned(
        self, name: str, kept: torch.Tensor, tensors: dict[str, torch.Tensor], fresh: torch.Tensor
    ) -> torch.Tensor:
        """A kept tensor; where it has a row for each row of a table, by rows, with `fresh` for those not kept."""
        if name not in self._tables or kept.shape[:1] != tensors[f"rows/{name}"].shape:
            return kept
        return self._tables[name].aligned(tensors[f"rows/{name}"], kept, fresh)

    def restore_masters(self, tensors: dict[str, torch.Tensor]) -> None:
        """Set the trained weights alone (best weights, resumed weights)."""
        with torch.no_grad():
            for name, master in self.masters.items():
                kept = tensors[f"master/{name}"]
                if name in self._tables:
                    self._tables[name].restore(tensors[f"rows/{name}"], kept)
                else:
                    master.copy_(kept)
            for name, parameter in self._settled.items():
                _settle(parameter, tensors[f"master/{name}"], tensors.get(f"rows/{name}"))
        self.write_back()


def _settle(parameter: nn.Parameter, kept: torch.Tensor, rows: torch.Tensor | None) -> None:
    """Weights that are trained no more, from what was kept of them; of a table perhaps some rows."""
    kept = kept.to(parameter.device, parameter.dtype)
    if rows is None:
        parameter.copy_(kept)
    else:
        parameter.index_copy_(0, rows.to(parameter.device), kept)


def _in_place_of(made: torch.Tensor, kept: torch.Tensor, name: str) -> torch.Tensor:
    """A state that was kept for one that has been reserved: itself, so that no more is held than while training.
    Raises RuntimeError where it is another's."""
    if (made.shape, made.dtype) != (kept.shape, kept.dtype):
        raise RuntimeError(f"{name}: {tuple(kept.shape)} in place of {tuple(made.shape)}")
    if getattr(made, "is_paged", False):
        return made.copy_(kept)  # bitsandbytes' own memory
    return kept.to(made.device, copy=kept.ndim == 0)


def ema_decay_at(decay: float, updates: int) -> float:
    """Decay of the average at update `updates` (1 = first). It warms up as (1 + n) / (10 + n): in a short run the
    weights of the start would otherwise stay in it (as TensorFlow's ExponentialMovingAverage, `num_updates`)."""
    return min(decay, (1 + updates) / (10 + updates))


def _is_vector(parameter: torch.Tensor) -> bool:
    """Also one that is stored as a single row or column, as the scalings of (IA)^3 are: decay would pull these
    towards 0, where their neutral value is 1."""
    return parameter.numel() == max(parameter.shape, default=1)


def learning_rate_at(strategy: Strategy, step: int, steps: int) -> float:
    """Learning rate of step `step` (1 = first) of `steps`: linear warm-up, then the schedule's decay."""
    schedule = strategy.schedule
    warmup = max(1, round(schedule.warmup_share * steps)) if schedule.warmup_share > 0 else 0
    if step <= warmup:
        return schedule.learning_rate * step / warmup
    return schedule.learning_rate * _DECAYS[schedule.decay](schedule, step - 1 - warmup, steps - warmup)


def _linear(schedule: Schedule, done: int, steps: int) -> float:
    return 1.0 - done / max(1, steps)


def _cosine(schedule: Schedule, done: int, steps: int) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * done / max(1, steps)))


def _constant(schedule: Schedule, done: int, steps: int) -> float:
    return 1.0


def _stable(schedule: Schedule, done: int, steps: int) -> float:
    """Of the steps after warm-up `done` are done. The last ones, a share of all that are left, fall."""
    falling = max(1, round(schedule.decay_share * steps))
    return 1.0 - math.sqrt(max(0, done - (steps - falling)) / falling)


_DECAYS: dict[Decay, Callable[[Schedule, int, int], float]] = {
    "linear": _linear,
    "cosine": _cosine,
    "constant": _constant,
    "wsd": _stable,
}
