"""Whom the exams examine: every method, every part alone, both also on the top layer only, and some methods on a
base in few bits, on tiny models.

A new method or part is in here by being in METHODS or PARTS; it writes no exam of its own.
"""

from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import torch
from transformers import PreTrainedModel

from tiny_models import FAMILIES, tiny_model
from trimtab import tuning
from trimtab.methods import (
    METHODS,
    PARTS,
    BasePrecision,
    Choices,
    LoraVariant,
    Method,
    Schedule,
    Strategy,
    method_named,
    stages_from,
)
from trimtab.models import ModelSource, read_spec
from trimtab.models.spec import ModelSpec

OUTPUTS = 3
# A method's own base precision comes with it. Beside that: the other one, and layers frozen below trained ones.
QUANTISED: tuple[tuple[str, BasePrecision], ...] = (("lora", "int8"), ("freeze", "nf4"), ("head", "int8"))
# Variants of LoRA, on the bases that PEFT has them for: family, variant, base.
VARIANTS: tuple[tuple[str, LoraVariant, BasePrecision], ...] = (
    ("bert", "dora", "same"),
    ("llama", "dora", "same"),
    ("bert", "dora", "nf4"),
    ("llama", "dora", "int8"),
    ("bert", "rslora", "same"),
)
# Single stages of methods, as strategies of their own: family, method, stages, number of the stage.
STAGED: tuple[tuple[str, str, str, int], ...] = (
    ("bert", "full", "bottom-up", 0),
    ("bert", "full", "bottom-up", 1),
    ("llama", "full", "bottom-up", 0),
    ("bert", "lora", "layers=1", 0),
    ("bert", "adapter", "layers=0-1", 0),
    ("llama", "qlora", "layers=head; layers=0", 1),
)
LAYERS = 3


@dataclass(frozen=True)
class Case:
    """A strategy on a tiny model."""

    name: str
    source: ModelSource
    spec: ModelSpec
    strategy: Strategy

    def model(self, *, attached: bool = True) -> PreTrainedModel:
        """A fresh model with head, from the same seed every time."""
        model = tuning.load_classifier(self.source, outputs=OUTPUTS, pad_token_id=0, seed=5)
        return tuning.apply(self.strategy, model, self.spec) if attached else model

    def base(self) -> PreTrainedModel:
        """The model that the strategy starts from: with the matrices in few bits that it keeps so."""
        model = self.model(attached=False).requires_grad_(False)
        tuning.quantise(self.strategy, model, self.spec)
        return model

    def moved(self) -> PreTrainedModel:
        """A model whose trained weights are no longer what they were at the start."""
        model = self.model()
        torch.manual_seed(11)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=0.2)
        return model.eval()


@cache
def source_of(family: str) -> ModelSource:
    return tiny_model(Path(mkdtemp(prefix=f"trimtab-exam-{family}-")), family, layers=LAYERS)


def methods_of(family: str) -> list[Method]:
    """The methods that have something to train in it."""
    return [method for method in METHODS if method.refusal(spec_of(family), Choices()) is None]


def method_cases() -> list[Case]:
    """Every method, with its defaults and, where it takes one, on the top layer; QUANTISED; VARIANTS."""
    plain = [
        _case(family, f"{method.name}{suffix}", method, choices, method.base_precision)
        for family in FAMILIES
        for method in methods_of(family)
        for suffix, choices in (("", Choices()), ("-top1", Choices(top_layers=1)))
        if method.stages is None and (not suffix or "top_layers" in method.takes)
    ]
    quantised = [
        _case(family, f"{name}-{base}", method_named(name), Choices(), base)
        for family in FAMILIES
        for name, base in QUANTISED
    ]
    variants = [
        _case(family, f"{variant}-{base}", method_named("lora"), Choices(lora_variant=variant), base)
        for family, variant, base in VARIANTS
    ]
    return plain + quantised + variants + [_stage_case(*stage) for stage in STAGED]


def part_cases() -> list[Case]:
    """Every part alone, whole and on the top layer."""
    return [
        _strategy_case(family, f"part:{part.name}{suffix}", Strategy(method="part", parts=(part(**choices),)))
        for family in FAMILIES
        for part in PARTS
        for suffix, choices in (("", {}), ("-top1", {"top_layers": 1}))
        if not suffix or "top_layers" in {field.name for field in fields(part)}
        if part(**choices).refusal(spec_of(family)) is None
    ]


def inputs(rows: int = 4, length: int = 9) -> dict[str, torch.Tensor]:
    """Token ids without padding."""
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(4, 40, (rows, length), generator=draw)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def spec_of(family: str) -> ModelSpec:
    return read_spec(source_of(family))


def _case(family: str, name: str, method: Method, choices: Choices, base: BasePrecision) -> Case:
    parts = method.parts(spec_of(family), choices)
    return _strategy_case(family, name, Strategy(method=method.name, parts=parts, base_precision=base))


def _stage_case(family: str, name: str, text: str, number: int) -> Case:
    method = method_named(name)
    whole = _case(family, f"{name}-{text}-{number}", method, Choices(), method.base_precision)
    stages = stages_from(text, whole.strategy.lowest_layer(whole.spec), LAYERS, 2)
    schedule = Schedule(stages=stages)
    return replace(whole, strategy=replace(whole.strategy, schedule=schedule).stages[number])


def _strategy_case(family: str, name: str, strategy: Strategy) -> Case:
    return Case(f"{family}/{name}", source_of(family), spec_of(family), strategy)
