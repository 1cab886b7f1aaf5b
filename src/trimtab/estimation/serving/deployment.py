"""What is served where: the question of a capacity, and the bytes of its parts.

    weights       matrices of the layers in the stored format, all other numbers in 16 bits (in fp32: 4 bytes; with
                  ONNX all in the stored format). int4 holds a scale of 16 bits for 128 numbers: 0.52 bytes each
    keys, values  2 x layers x key heads x head size numbers a token, of 2 bytes (fp32: 4)
    a pass        s (3 h + max(2 f, 4 d)) bytes a token, one layer's moment, as an evaluation (estimation.memory)

Known error: paged memory holds a little more, since a request takes its last token only at its end; what vLLM sets
aside for its graphs is not looked into.
"""

from dataclasses import dataclass

from trimtab.estimation.heap import runtime_bytes
from trimtab.estimation.serving.engines import Engine, StoredAs
from trimtab.hardware.machine import Machine
from trimtab.methods import Lora
from trimtab.models.spec import ModelSpec

_NUMBER_BYTES: dict[StoredAs, float] = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1, "int4": 0.5 + 2 / 128}
# vLLM takes so much of a card if nothing else is said; the rest is for what nobody counts.
_USED_SHARE = 0.9
_PROMPT_CHUNK = 2048  # tokens of prompts that are read at once
_ADAPTER_NUMBER_BYTES = 4  # as artifacts hold them


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """One request: tokens read, and tokens written (0: one pass, as of a classifier)."""

    input_tokens: int
    output_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A model on one device of `machine`, with `adapters` beside it of `adapter_bytes` each (0: the model as it
    is). `stored_bytes`: of the weights as they lie in a file that is served as it is; 0 = by formula."""

    spec: ModelSpec
    machine: Machine
    engine: Engine
    weights: StoredAs
    adapters: int = 0
    adapter_bytes: int = 0
    stored_bytes: int = 0
    copies: int = 1

    @property
    def weight_bytes(self) -> int:
        """Of the base, or the whole model."""
        if self.stored_bytes:
            return self.stored_bytes
        layers = self.spec.parameters_of_layers()
        return round(layers * self.number_bytes + (self.spec.parameters - layers) * self._other_bytes)

    @property
    def read_bytes(self) -> float:
        """Of weights that one pass needs: the layers, and of a decoder the table that scores a token."""
        scored = self.spec.vocab * self.spec.hidden if self.spec.kind == "decoder" else 0
        return self.spec.parameters_of_layers() * self.number_bytes + scored * self._other_bytes

    @property
    def number_bytes(self) -> float:
        return _NUMBER_BYTES[self.weights]

    @property
    def _other_bytes(self) -> float:
        """Of numbers that are in no layer."""
        if self.engine.name == "onnx":
            return self.number_bytes
        return max(2.0, self.number_bytes)

    @property
    def computed_bytes(self) -> int:
        """Of a number that is computed with."""
        return 4 if self.weights == "fp32" or self.machine.device.kind == "cpu" else 2

    @property
    def token_bytes(self) -> int:
        """Keys and values of one token of a conversation."""
        heads = sum(self.spec.layer(number).kv_heads for number in range(self.spec.layers))
        return 2 * heads * self.spec.head_dim * self.computed_bytes

    @property
    def usable_bytes(self) -> float:
        return _USED_SHARE * self.machine.device.usable_bytes

    def fixed_bytes(self, workload: Workload) -> int:
        """Held whatever the load: runtime, weights, adapters, and for a decoder the moment of reading prompts."""
        runtime, _ = runtime_bytes(self.machine)
        reading = _PROMPT_CHUNK * self._moment_bytes if workload.output_tokens else 0
        return round(runtime + self.copies * self.weight_bytes + self.adapters * self.adapter_bytes + reading)

    def row_bytes(self, workload: Workload) -> int:
        """Of one request more: its keys and values and the scores of its next token, or its share of a pass."""
        if workload.output_tokens:
            return workload.tokens * self.token_bytes + 4 * self.spec.vocab
        return workload.input_tokens * self._moment_bytes

    @property
    def _moment_bytes(self) -> int:
        spec = self.spec
        return self.computed_bytes * (3 * spec.hidden + max(2 * spec.ffn, 4 * spec.heads * spec.head_dim))

    def most_rows(self, workload: Workload) -> int:
        """Requests that one device holds at once: by memory, and by what the engine takes on. 0: none fits."""
        room = self.usable_bytes - self.fixed_bytes(workload)
        by_memory = max(0, int(room // self.row_bytes(workload)))
        if workload.output_tokens:
            return min(by_memory, self.engine.most_rows)
        return min(by_memory, max(1, self.engine.pass_tokens // workload.input_tokens))


def adapter_bytes(spec: ModelSpec) -> int:
    """Of a LoRA adapter of rank 8 on queries and values, in fp32."""
    return _ADAPTER_NUMBER_BYTES * spec.layers * Lora().added_to_a_layer(spec)
