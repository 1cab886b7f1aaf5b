"""vLLM: LoRA adapters beside a language model on a GPU, requests of all of them in one batch.

What it takes is read from its sources (vllm/lora/peft_helper.py, vllm/config/lora.py) and documentation
(features/lora, models/supported_models), releases 0.11 to 0.22; it was not run here. It refuses DoRA and
`modules_to_save`, hence every head; plain LoRA and rsLoRA load, also in some layers only. Leaves out several GPUs.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from types import MappingProxyType

from trimtab.errors import Message, message
from trimtab.models import ModelSpec
from trimtab.serving.handover.facts import (
    TEMPLATE_FILE,
    Container,
    Handed,
    Launch,
    Loaded,
    Mount,
    Served,
    Server,
)
from trimtab.serving.handover.peft_folder import write_peft
from trimtab.serving.handover.rules import (
    asking,
    base_bits,
    bits_notes,
    dora,
    has_head,
    not_lora,
    other_base,
    other_family,
    precision_of,
    rank_above,
    sorted_out,
    template_for,
    whole_model,
)

TITLE = "vLLM"
# `MaxLoRARanks` of vllm/config/lora.py; 1, which newer releases add, is left out for older ones.
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Of the families trained here, those whose classes there are `SupportsLoRA`. GPT-2 and GPT-NeoX are not.
_FAMILIES = ("gemma", "gemma2", "gemma3_text", "llama", "mistral", "phi", "phi3", "qwen2", "qwen3")
_IMAGE = "vllm/vllm-openai:latest"
_PORT = 8000
_MOST_TOGETHER = 8  # adapters of one batch; a slot is reserved for each
_DTYPES: Mapping[str, str] = MappingProxyType({"bf16": "bfloat16", "fp16": "float16"})
_BITS: Mapping[str, tuple[str, ...]] = MappingProxyType({"nf4": ("--quantization", "bitsandbytes")})
# In the container, whose images run as root.
_CACHE = Mount(source="hf-cache", target="/root/.cache/huggingface", kind="volume")
_RULES = (
    other_base,
    whole_model,
    not_lora(TITLE),
    has_head(TITLE),
    dora(TITLE),
    rank_above(TITLE, RANKS[-1]),
    other_family(TITLE, _FAMILIES),
)


def smallest_rank(ranks: Sequence[int]) -> int:
    """What --max-lora-rank has to be: the smallest that it may be and no adapter is above."""
    return next(allowed for allowed in RANKS if allowed >= max(ranks))


def slot_bytes(spec: ModelSpec, rank: int) -> int:
    """Memory of one adapter's place on the GPU, which is as large for all: pairs of `rank` beside every matrix of
    every layer, two bytes a number, whichever matrices the adapter has."""
    layers = (spec.layer(number) for number in range(spec.layers))
    return sum(2 * rank * (linear.inputs + linear.outputs) for layer in layers for linear in layer.linears)


def _launch(served: Served) -> Launch:
    taken, refused = sorted_out(served, _RULES, _instead)
    template, of_templates = template_for(served, taken)
    bits = base_bits(taken)
    argv = partial(_arguments, served, taken, template, _BITS.get(bits, ()))
    port = served.port or _PORT
    environment = (("VLLM_USE_MODELSCOPE", "True"),) if served.source.kind == "modelscope" else ()
    return Launch(
        argv=("vllm", "serve", *argv(_base(served), "adapters", ""), "--host", "127.0.0.1", "--port", str(port)),
        container=_container(
            served, argv("" if served.hub_id else "/base", "/adapters", "/"), template, environment
        ),
        port=port,
        environment=environment,
        loaded=tuple(_loaded(handed, port) for handed in taken),
        refused=refused,
        notes=(*bits_notes(taken, bits if bits in _BITS else "same"), *of_templates, *_room(served, taken)),
        template=template,
    )


def _base(served: Served) -> str:
    return served.hub_id or str(served.source.folder.resolve())


def _arguments(
    served: Served,
    taken: Sequence[Handed],
    template: str,
    bits: tuple[str, ...],
    base: str,
    adapters: str,
    root: str,
) -> tuple[str, ...]:
    """All but where it listens. `base`: "" = from the hub; `adapters`: their folder; `root`: what the template's
    name follows."""
    revision = ("--revision", served.source.revision) if served.hub_id and served.source.revision else ()
    precision = precision_of(taken)
    dtype = ("--dtype", _DTYPES[precision]) if precision else ()
    called = () if served.hub_id else ("--served-model-name", served.called)
    chat = ("--chat-template", f"{root}{TEMPLATE_FILE}") if template else ()
    return (base or served.hub_id, *revision, *called, *dtype, *bits, *chat, *_lora(taken, adapters))


def _lora(taken: Sequence[Handed], adapters: str) -> tuple[str, ...]:
    if not taken:
        return ()
    together = min(len(taken), _MOST_TOGETHER)
    return (
        *("--enable-lora", "--max-loras", str(together), "--max-cpu-loras", str(len(taken))),
        *("--max-lora-rank", str(smallest_rank(_ranks(taken)))),
        *("--lora-modules", *(f"{handed.name}={adapters}/{handed.name}" for handed in taken)),
    )


def _ranks(taken: Sequence[Handed]) -> list[int]:
    return [handed.lora.rank for handed in taken if handed.lora is not None]


def _container(
    served: Served, arguments: tuple[str, ...], template: str, environment: tuple[tuple[str, str], ...]
) -> Container:
    mounts = [Mount(source="./adapters", target="/adapters")] if served.adapters else []
    mounts.append(_CACHE if served.hub_id else Mount(source=str(served.source.folder.resolve()), target="/base"))
    if template:
        mounts.append(Mount(source=f"./{TEMPLATE_FILE}", target=f"/{TEMPLATE_FILE}"))
    return Container(
        image=_IMAGE, command=arguments, port=_PORT, mounts=tuple(mounts), environment=environment, ipc="host"
    )


def _loaded(handed: Handed, port: int) -> Loaded:
    return Loaded(
        adapter=handed,
        path=f"adapters/{handed.name}",
        request=asking(handed, port, model=handed.name),
        write=write_peft,
    )


def _room(served: Served, taken: Sequence[Handed]) -> tuple[Message, ...]:
    """What the largest rank costs all."""
    if not taken:
        return ()
    ranks = _ranks(taken)
    most, slots = smallest_rank(ranks), min(len(taken), _MOST_TOGETHER)
    need = slots * slot_bytes(served.spec, most)
    return (message("TT-N332", most=most, ranks=", ".join(map(str, sorted(set(ranks)))), slots=slots, need=need),)


def _instead(folder: str) -> Message:
    return message("TT-N321", command=f"vllm serve {folder}")


VLLM = Server(name="vllm", title=TITLE, launch=_launch)
