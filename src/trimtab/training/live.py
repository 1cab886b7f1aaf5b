"""LiveBytes: how many bytes of tensors are alive while a step runs, by what they are for and where the step is.

A dispatch mode that sees every tensor an operation makes, counts its storage once, and takes it off when the
storage dies. It works on real tensors and on fake ones alike, so that a dry run and a real step can be held to
each other. Leaves out what kernels take and give back inside one operation, and what an allocator loses.
"""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class LiveBytes(TorchDispatchMode):
    """`label` names what is being made, `site` where the step is; both are set from outside as it goes along.

    `peaks`: for every site the bytes of each label at the moment when their sum was highest there. Storages are
    counted in whole units of `unit_bytes` (512 on CUDA).
    """

    def __init__(self, unit_bytes: int = 1) -> None:
        super().__init__()
        self.label, self.site = "weights", "load"
        self.peaks: dict[str, dict[str, int]] = {}
        self._unit_bytes = unit_bytes
        self._storages: dict[int, tuple[str, int]] = {}
        self._by_label: dict[str, int] = {}
        self._now = 0

    @property
    def now_bytes(self) -> int:
        return self._now

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.count(x for x in tree_iter(result) if isinstance(x, torch.Tensor))
        return result

    def count(self, tensors: Iterable[torch.Tensor]) -> None:
        """Take up storages not seen before, under the current label."""
        for tensor in tensors:
            for storage in _storages(tensor):
                key = storage._cdata
                if key not in self._storages:
                    size = -(-storage.nbytes() // self._unit_bytes) * self._unit_bytes
                    self._add(key, self.label, size)
                    weakref.finalize(storage, self._drop, key)
        if self._now > sum(self.peaks.get(self.site, {}).values()):
            self.peaks[self.site] = dict(self._by_label)

    def relabel(self, tensors: Iterable[torch.Tensor | None], label: str) -> None:
        """Say what storages already counted have turned out to be for."""
        for tensor in tensors:
            for storage in () if tensor is None else _storages(tensor):
                known = self._storages.get(storage._cdata)
                if known is not None and known[0] != label:
                    self._drop(storage._cdata)
                    self._add(storage._cdata, label, known[1])

    def _add(self, key: int, label: str, size: int) -> None:
        self._storages[key] = (label, size)
        self._by_label[label] = self._by_label.get(label, 0) + size
        self._now += size

    def _drop(self, key: int) -> None:
        label, size = self._storages.pop(key)
        self._by_label[label] -= size
        self._now -= size


def _storages(tensor: torch.Tensor) -> tuple[torch.UntypedStorage, ...]:
    if tensor.layout is torch.sparse_coo:
        return tensor._indices().untyped_storage(), tensor._values().untyped_storage()
    return (tensor.untyped_storage(),)
