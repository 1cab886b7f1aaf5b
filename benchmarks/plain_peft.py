"""Plain PEFT in the same process, to be measured beside a server: what one has without Trimtab's.

Adapters of one type and one number of labels are one PeftModel (PEFT takes no others together), all of them on the
tensors of one base. `one_by_one`: as requests come, each switched to (`set_adapter`). `in_windows`: requests that
came together are sorted; LoRA goes through `adapter_names`, the others adapter by adapter, since PEFT ignores the
names there, and so does LoRA with a BERT pooler saved beside it, for which it refuses them. What PEFT does not
keep beside a base (BitFit, a head alone) is a whole model each.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

import trimtab.tuning  # noqa: F401  registers bottleneck adapters
from trimtab.artifacts import glance

Asked = tuple[str, str]  # adapter, text


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an adapter lies: in which model, and whether names may be given for every row."""

    model: PreTrainedModel
    named: bool = False
    switched: bool = False


class PlainPeft:
    """`folders`: artifacts by name, of classifiers on `base`."""

    def __init__(self, base: Path, folders: Mapping[str, Path]) -> None:
        self._tokenizer = AutoTokenizer.from_pretrained(base)
        self._tensors = AutoModelForSequenceClassification.from_pretrained(base).state_dict()
        self._base = base
        self._groups: dict[tuple[str, int], PeftModel] = {}
        self._places = {name: self._placed(name, folder) for name, folder in folders.items()}

    def one_by_one(self, asked: Sequence[Asked]) -> list[list[float]]:
        """Probabilities of each."""
        return [self._switched(name, [text])[0] for name, text in asked]

    def in_windows(self, asked: Sequence[Asked], width: int = 32) -> list[list[float]]:
        """The same, `width` requests at a time."""
        found: list[list[float]] = [[] for _ in asked]
        for start in range(0, len(asked), width):
            window = range(start, min(start + width, len(asked)))
            for rows, answers in self._passes(asked, window):
                for row, answer in zip(rows, answers, strict=True):
                    found[row] = answer
        return found

    def _passes(self, asked: Sequence[Asked], window: range) -> Iterator[tuple[list[int], list[list[float]]]]:
        names = {row: asked[row][0] for row in window}
        named: dict[int, list[int]] = {}
        alone: dict[str, list[int]] = {}
        for row, name in names.items():
            place = self._places[name]
            (named.setdefault(id(place.model), []) if place.named else alone.setdefault(name, [])).append(row)
        for rows in named.values():
            model = self._places[names[rows[0]]].model
            texts = [asked[row][1] for row in rows]
            yield rows, self._forward(model, texts, adapter_names=[names[row] for row in rows])
        for name, rows in alone.items():
            yield rows, self._switched(name, [asked[row][1] for row in rows])

    def _switched(self, name: str, texts: list[str]) -> list[list[float]]:
        place = self._places[name]
        if place.switched:
            place.model.set_adapter(name)
        return self._forward(place.model, texts)

    @torch.inference_mode()
    def _forward(self, model: PreTrainedModel, texts: list[str], **more: object) -> list[list[float]]:
        batch = self._tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=128)
        shares: list[list[float]] = model(**batch, **more).logits.softmax(-1).tolist()
        return shares

    def _placed(self, name: str, folder: Path) -> _Place:
        facts = glance(folder)
        if not facts.adapter:
            return _Place(AutoModelForSequenceClassification.from_pretrained(folder).eval())
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        kind = config["peft_type"]
        key = (kind, facts.outputs)
        if key in self._groups:
            self._groups[key].load_adapter(str(folder), name)
        else:
            self._groups[key] = PeftModel.from_pretrained(self._shared(facts.outputs), str(folder), name).eval()
        return _Place(
            self._groups[key], named=kind == "LORA" and config["modules_to_save"] == ["classifier"], switched=True
        )

    def _shared(self, outputs: int) -> PreTrainedModel:
        """A classifier on the one base's tensors, with a head of its own."""
        config = AutoConfig.from_pretrained(self._base, num_labels=outputs)
        model = AutoModelForSequenceClassification.from_config(config)
        kept = {name: x for name, x in self._tensors.items() if not name.startswith("classifier.")}
        model.load_state_dict(kept, strict=False, assign=True)
        return model
