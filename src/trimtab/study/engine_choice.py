"""Which engine serves a model on a device, and with which weights, where the user leaves it open."""

from dataclasses import dataclass

from trimtab.artifacts import ArtifactFacts
from trimtab.artifacts import Engine as ComputedBy
from trimtab.errors import Message, UsageError
from trimtab.estimation.serving import WEIGHTS, Engine, EngineName, StoredAs, engine_named, refusal
from trimtab.hardware import Device
from trimtab.models import ModelSpec

# By preference. A decoder's texts are written fastest by vLLM, which loads LoRA adapters; an encoder's batch
# waits for nobody, and Trimtab's own service has it with all kinds of adapters. On a CPU ONNX Runtime is twice
# as fast.
_DECODERS: tuple[EngineName, ...] = ("vllm", "trimtab")
_ENCODERS: tuple[EngineName, ...] = ("onnx", "trimtab")
_LOADED_BY_VLLM = ("lora", "qlora")  # methods whose adapters it takes
_WHOLE_MODELS: tuple[EngineName, ...] = ("onnx", "tensorrt")  # they hold no adapters beside a base
_OF_ARTIFACTS: dict[ComputedBy, EngineName] = {
    "transformers": "trimtab", "gguf": "trimtab", "onnx": "onnx", "openvino": "onnx",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineChoice:
    """What the user says of it; "auto" leaves it open."""

    engine: str = "auto"
    weights: str = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """An engine and how it stores the weights."""

    engine: Engine
    weights: StoredAs


def refuse_choice(choice: EngineChoice, spec: ModelSpec, adapters: int) -> None:
    """Raises UsageError TT-P501 for an engine there is not, TT-P521 for weights there are not, TT-P522 for
    adapters on an engine that holds none."""
    if choice.weights not in ("auto", *WEIGHTS):
        raise UsageError("TT-P521", weights=choice.weights, known=", ".join(("auto", *WEIGHTS)))
    if choice.engine != "auto":
        engine = engine_named(choice.engine)
        if adapters and engine.name in _WHOLE_MODELS:
            raise UsageError("TT-P522", engine=engine.name, adapters=adapters, model=spec.name)


def chosen_engine(
    choice: EngineChoice, spec: ModelSpec, facts: ArtifactFacts | None, device: Device, adapters: int
) -> Taken | Message:
    """The first engine that can, with the weights asked for or its own; else why the last one cannot."""
    why: Message | None = None
    for name in _candidates(choice, spec, facts, adapters):
        engine = engine_named(name)
        weights = _weights(choice, engine, facts, device)
        why = refusal(engine, spec, device, weights)
        if why is None:
            return Taken(engine=engine, weights=weights)
    assert why is not None, "there is a candidate"
    return why


def _candidates(
    choice: EngineChoice, spec: ModelSpec, facts: ArtifactFacts | None, adapters: int
) -> tuple[EngineName, ...]:
    if choice.engine != "auto":
        return (engine_named(choice.engine).name,)
    if spec.kind == "decoder":
        foreign = facts is not None and facts.adapter and facts.strategy.method not in _LOADED_BY_VLLM
        return ("trimtab",) if foreign else _DECODERS
    if facts is not None and not facts.adapter:
        return (_OF_ARTIFACTS[facts.engine],)
    return ("trimtab",) if adapters or facts is not None else _ENCODERS


def _weights(choice: EngineChoice, engine: Engine, facts: ArtifactFacts | None, device: Device) -> StoredAs:
    """As asked for; else int8 in ONNX (an artifact: as it is stored), 16 bits on what computes in them, fp32."""
    asked = next((weights for weights in WEIGHTS if weights == choice.weights), None)
    if asked is not None:
        return asked
    if engine.name == "onnx":
        return "int8" if facts is None or _is_quantised(facts) else "fp32"
    if device.kind == "cpu":
        return "fp32"
    able = [weights for weights in ("bf16", "fp16") if weights in engine.weights and device.peak(weights)]
    return able[0] if able else "fp32"


def _is_quantised(facts: ArtifactFacts) -> bool:
    return any(change.step == "quantize" for change in facts.changes)
