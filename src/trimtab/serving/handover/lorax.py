"""LoRAX: LoRA adapters beside a language model on a GPU, taken up at the first request for them. Docker only.

What it takes is read from its sources (server/lorax_server/adapters/lora.py, utils/sgmv.py) and documentation
(models/base_models, reference/launcher); it was not run here. It leaves DoRA's lengths out in silence, and all
pairs of a kind of matrix where one layer has none: adapters on the upper layers get pairs of zeros below. Ranks
above 128 leave its fast kernels. Leaves out Medusa, several GPUs, and bases that it must not fetch from a hub but
Hugging Face's (they are mounted).
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from trimtab.errors import Message, message
from trimtab.serving.handover.facts import Container, Handed, Launch, Loaded, Mount, Served, Server
from trimtab.serving.handover.peft_folder import write_peft_in_all_layers
from trimtab.serving.handover.rules import (
    asking,
    base_bits,
    bits_notes,
    docker_run,
    dora,
    has_head,
    not_lora,
    other_base,
    other_family,
    precision_of,
    sorted_out,
    template_for,
    whole_model,
)

TITLE = "LoRAX"
FAST_RANK = 128  # MAX_RANK_CUSTOM and BGMV_MAX_RANK of its kernels
_FAMILIES = ("llama", "mistral", "qwen2")  # of those trained here, what models/base_models names
_IMAGE = "ghcr.io/predibase/lorax:main"
_PORT = 8080
_INSIDE = 80
_DTYPES: Mapping[str, str] = MappingProxyType({"bf16": "bfloat16", "fp16": "float16"})
_BITS: Mapping[str, str] = MappingProxyType({"nf4": "bitsandbytes-nf4", "int8": "bitsandbytes"})
_RULES = (
    other_base,
    whole_model,
    not_lora(TITLE),
    has_head(TITLE),
    dora(TITLE),
    other_family(TITLE, _FAMILIES),
)


def _launch(served: Served) -> Launch:
    taken, refused = sorted_out(served, _RULES, _instead)
    template, of_templates = template_for(served, taken)
    bits = base_bits(taken)
    port = served.port or _PORT
    container = Container(
        image=_IMAGE, command=_arguments(served, taken, bits), port=_INSIDE, mounts=_mounts(served), shm_size="1g"
    )
    told = (message("TT-N335", file="tokenizer_config.json"),) if template else ()
    return Launch(
        argv=docker_run(container, port),
        container=container,
        port=port,
        loaded=tuple(_loaded(handed, port) for handed in taken),
        refused=refused,
        notes=(
            *bits_notes(taken, bits if bits in _BITS else "same"),
            *of_templates,
            *told,
            *_filled(served, taken),
        ),
        template=template,
    )


def _on_hub(served: Served) -> bool:
    return served.source.kind == "hub"


def _arguments(served: Served, taken: Sequence[Handed], bits: str) -> tuple[str, ...]:
    revision = ("--revision", served.source.revision) if _on_hub(served) and served.source.revision else ()
    precision = precision_of(taken)
    # It takes one of the two.
    numbers = ("--dtype", _DTYPES[precision]) if precision else ()
    numbers = ("--quantize", _BITS[bits]) if bits in _BITS else numbers
    active = ("--default-adapter-source", "local", "--max-active-adapters", str(len(taken))) if taken else ()
    return ("--model-id", served.hub_id if _on_hub(served) else "/base", *revision, *numbers, *active)


def _mounts(served: Served) -> tuple[Mount, ...]:
    base = Mount(source=str(served.source.folder.resolve()), target="/base")
    adapters = (Mount(source="./adapters", target="/adapters"),) if served.adapters else ()
    return (*adapters, Mount(source="lorax-data", target="/data", kind="volume") if _on_hub(served) else base)


def _loaded(handed: Handed, port: int) -> Loaded:
    return Loaded(
        adapter=handed,
        path=f"adapters/{handed.name}",
        request=asking(handed, port, model=f"/adapters/{handed.name}"),
        write=write_peft_in_all_layers,
    )


def _filled(served: Served, taken: Sequence[Handed]) -> tuple[Message, ...]:
    """Adapters that grew, or that are slow there."""
    notes = []
    for handed in taken:
        part = handed.lora
        assert part is not None, "what is taken is LoRA"
        if lowest := part.lowest_layer(served.spec):
            notes.append(message("TT-N333", name=handed.name, layers=served.spec.layers - lowest, lower=lowest))
        if part.rank > FAST_RANK:
            notes.append(message("TT-N334", name=handed.name, rank=part.rank, most=FAST_RANK))
    return tuple(notes)


def _instead(folder: str) -> Message:
    return message("TT-N321", command=f"lorax-launcher --model-id {folder}")


LORAX = Server(name="lorax", title=TITLE, launch=_launch)
