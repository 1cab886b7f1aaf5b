"""Whether training with rounded weights wins anything over rounding after the training (decision 0027).

    python benchmarks/qat.py --teachers OUT/0/teacher,OUT/1/teacher --data DIR --out FOLDER [--formats w8a8,w4b32]
              [--epochs 1] [--lr 3e-5] [--rows N] [--files]

--teachers: classifiers as benchmarks/shrinking.py leaves them; --data: the folder of SST-2. From each teacher one
more epoch is trained in fp32, the control, and one with the weights rounded in forward for each format, gradients
passed straight through. Accuracy on dev and test together, of weights that are rounded in fp32 arithmetic; of the
formats that Trimtab ships, where --files is said, also of the file that ONNX Runtime runs. What stands in
FOLDER is not made again.
"""

import argparse
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean

import numpy as np
import torch
from machine_facts import print_facts
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from trimtab import compress
from trimtab.artifacts import read_facts
from trimtab.compression.wanted import Quantize
from trimtab.metrics import paired_difference
from trimtab.study import Compressed, CompressRequest

_BATCH, _LENGTH, _WINDOW = 32, 64, 16


class _Straight(torch.autograd.Function):
    """Rounding whose gradient is that of what was rounded."""

    @staticmethod
    def forward(ctx: object, x: torch.Tensor, rounded: torch.Tensor) -> torch.Tensor:
        return rounded

    @staticmethod
    def backward(ctx: object, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        return grad, None


def rounded(x: torch.Tensor, bits: int, block: int | None, symmetric: bool = False) -> torch.Tensor:
    """x (..., n) in whole numbers of `bits` bits and back, a scale for every `block` numbers of a row; None: for
    the whole row. Symmetric: no zero point. As ONNX Runtime's quantisers do."""
    parts = x.detach().reshape(*x.shape[:-1], -1, block or x.shape[-1])
    if symmetric:
        most = 2 ** (bits - 1) - 1
        scale = parts.abs().amax(-1, keepdim=True).clamp_min(1e-12) / most
        found = (parts / scale).round().clamp(-most, most) * scale
    else:
        low, high = parts.amin(-1, keepdim=True).clamp_max(0), parts.amax(-1, keepdim=True).clamp_min(0)
        scale = (high - low).clamp_min(1e-12) / (2**bits - 1)
        zero = (-low / scale).round()
        found = ((parts / scale).round() + zero).clamp(0, 2**bits - 1).sub(zero) * scale
    return _Straight.apply(x, found.reshape(x.shape))


def _int8(x: torch.Tensor) -> torch.Tensor:
    return rounded(x, 8, None, symmetric=True)


def _activations(x: torch.Tensor) -> torch.Tensor:
    return rounded(x.flatten(), 8, None).view(x.shape)  # one range for all, as measured while it runs


_Round = Callable[[torch.Tensor], torch.Tensor]
# Of weights, of rows of the embedding, of activations.
FORMATS: dict[str, tuple[_Round, _Round, _Round | None]] = {
    "w8a8": (_int8, _int8, _activations),
    "w4b32": (lambda w: rounded(w, 4, 32), lambda w: rounded(w, 4, 32), None),
    "w4row": (lambda w: rounded(w, 4, None), lambda w: rounded(w, 4, 32), None),
    "w3b32": (lambda w: rounded(w, 3, 32), lambda w: rounded(w, 4, 32), None),
    "w2b32": (lambda w: rounded(w, 2, 32), lambda w: rounded(w, 4, 32), None),
}
SHIPPED = {"w8a8": Quantize(back_off=False), "w4b32": Quantize(bits="q4", back_off=False)}


class _Rounding:
    """Lets a model compute in a format, until it is taken out."""

    def __init__(self, model: nn.Module, name: str) -> None:
        self._undo: list[tuple[nn.Module, str]] = []
        weight, row, activation = FORMATS[name]
        for module in model.modules():
            if isinstance(module, nn.Linear):
                self._put(module, _product(module, weight, activation))
            elif isinstance(module, nn.Embedding):
                self._put(module, _looked_up(module, row))

    def _put(self, module: nn.Module, forward: Callable[..., torch.Tensor]) -> None:
        module.forward = forward
        self._undo.append((module, "forward"))

    def out(self) -> None:
        for module, name in self._undo:
            del module.__dict__[name]


def _product(module: nn.Linear, weight: _Round, activation: _Round | None) -> Callable[..., torch.Tensor]:
    def forward(x: torch.Tensor) -> torch.Tensor:
        given = x if activation is None else activation(x.float())
        return nn.functional.linear(given, weight(module.weight), module.bias)

    return forward


def _looked_up(module: nn.Embedding, row: _Round) -> Callable[..., torch.Tensor]:
    return lambda places: row(nn.functional.embedding(places, module.weight, module.padding_idx))


Rows = list[tuple[list[int], int]]


def read(folder: Path, split: str, tokenizer: object, labels: list[str]) -> Rows:
    lines = [json.loads(line) for line in (folder / f"{split}.jsonl").open(encoding="utf-8")]
    tokens = tokenizer([line["text"] for line in lines], truncation=True, max_length=_LENGTH)["input_ids"]
    return [(ids, labels.index(line["label"])) for ids, line in zip(tokens, lines, strict=True)]


def batches(rows: Rows, order: np.ndarray) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of like lengths, those of a window in the order given."""
    for start in range(0, len(order), _WINDOW * _BATCH):
        window = sorted(order[start : start + _WINDOW * _BATCH], key=lambda place: len(rows[place][0]))
        for first in range(0, len(window), _BATCH):
            taken = [rows[place] for place in window[first : first + _BATCH]]
            width = max(len(ids) for ids, _ in taken)
            ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in taken])
            mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in taken])
            yield {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([label for _, label in taken])}


def train(model: nn.Module, rows: Rows, arguments: argparse.Namespace, seed: int) -> float:
    """One rate, falling in a straight line. Returns seconds of the processor."""
    torch.manual_seed(seed)
    shuffled = np.random.default_rng(seed)
    steps = arguments.epochs * -(-len(rows) // _BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=arguments.lr, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / steps))
    model.train()
    begun = time.process_time()
    for _ in range(arguments.epochs):
        for batch in batches(rows, shuffled.permutation(len(rows))):
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(**batch).loss
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            falling.step()
            optimizer.zero_grad()
    return time.process_time() - begun


@torch.inference_mode()
def accuracy(model: nn.Module, rows: Rows, format_name: str | None = None) -> float:
    model.eval()
    rounding = None if format_name is None else _Rounding(model, format_name)
    right = 0
    for batch in batches(rows, np.arange(len(rows))):
        right += int((model(**batch).logits.argmax(-1) == batch["labels"]).sum())
    if rounding is not None:
        rounding.out()
    return right / len(rows)


def shipped(teacher: Path, model: nn.Module, out: Path, format_name: str, data: Path) -> float:
    """Accuracy on dev and test together of the file that ONNX Runtime runs."""
    if not (out / "whole").is_dir():
        shutil.copytree(teacher, out / "whole")
        model.save_pretrained(out / "whole")
        read_facts(teacher).write(out / "whole")
    request = CompressRequest(
        folder=str(out / "whole"),
        out=str(out / format_name),
        wanted=SHIPPED[format_name],
        data=str(data),
        force=True,
    )
    *_, done = compress(request)
    assert isinstance(done, Compressed)
    found = done.change.compared
    return sum((one.after or 0.0) * one.rows for one in found) / sum(one.rows for one in found)


def of_one(teacher: Path, number: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Accuracies of one teacher, by "what, format" """
    kept = arguments.out / f"{number}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    labels = json.loads((teacher / "artifact.json").read_text())["labels"]
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    rows = read(arguments.data, "train", tokenizer, labels)[: arguments.rows]
    seen = [row for split in ("dev", "test") for row in read(arguments.data, split, tokenizer, labels)]
    found: dict[str, float] = {}
    for trained in ("teacher", "control", *arguments.formats):
        model = AutoModelForSequenceClassification.from_pretrained(teacher).float()
        rounding = _Rounding(model, trained) if trained in FORMATS else None
        if trained != "teacher":
            found[f"seconds, {trained}"] = train(model, rows, arguments, number)
        if rounding is not None:
            rounding.out()
        else:
            found[f"{trained}, fp32"] = accuracy(model, seen)
        for name in (trained,) if rounding is not None else arguments.formats:
            found[f"{trained}, {name}"] = accuracy(model, seen, name)
            if name in SHIPPED and arguments.files:
                place = arguments.out / str(number) / trained
                found[f"{trained}, {name} in ONNX Runtime"] = shipped(teacher, model, place, name, arguments.data)
        print(number, {name: round(value, 4) for name, value in found.items() if trained in name}, flush=True)
    arguments.out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teachers", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=3e-5)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--files", action="store_true")
    arguments = parser.parse_args()
    arguments.formats = arguments.formats.split(",")
    print_facts()
    every = [of_one(Path(one), number, arguments) for number, one in enumerate(arguments.teachers.split(","))]
    for name in every[0]:
        print(f"{name:<36} {mean(one[name] for one in every):.4f}")
    for name in arguments.formats:
        ways = [name, f"{name} in ONNX Runtime"] if name in SHIPPED and arguments.files else [name]
        for way in ways:
            for other in ("teacher", "control"):
                values = ([one[f"{who}, {way}"] for one in every] for who in (name, other))
                gain = paired_difference(*values)
                points = f"{100 * gain.mean:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f})"
                print(f"{way:<24} trained so - {other:<8} {points} points, {gain.n} seeds")


if __name__ == "__main__":
    main()
