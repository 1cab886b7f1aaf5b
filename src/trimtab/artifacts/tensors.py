"""The tensors of an adapter's file, from its header: held to what the model takes before a weight is read."""

from collections.abc import Mapping
from pathlib import Path

from trimtab.artifacts.facts import ADAPTER_WEIGHTS, refuse_pickled_adapter
from trimtab.errors import ArtifactError
from trimtab.methods import Shape, TrainedTensors, grouped_tensors
from trimtab.models.weights_header import StoredTensor, read_header, read_headers

_PREFIX = "base_model.model."  # of every name in the file, as PEFT writes it


def adapter_tensors(folder: Path) -> tuple[StoredTensor, ...]:
    """Names, dtypes and shapes in the adapter's file. Raises ArtifactError TT-A020 where it is there as pickle
    alone, TT-A026 where there is none; ModelError TT-M011 to TT-M014 for a damaged header."""
    refuse_pickled_adapter(folder)
    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        raise ArtifactError("TT-A026", folder=str(folder), file=ADAPTER_WEIGHTS)
    return read_header(file)


def require_fit(folder: Path, wanted: Mapping[str, Shape]) -> None:
    """Hold an adapter's file to the names and shapes that a model takes.

    Raises ArtifactError: TT-A005 a tensor missing, TT-A027 of another shape, TT-A028 one that has no place; and
    what `adapter_tensors` raises.
    """
    found = {tensor.name: tensor.shape for tensor in adapter_tensors(folder)}
    _require(folder, wanted, found)
    if strange := sorted(found.keys() - wanted.keys()):
        raise ArtifactError("TT-A028", name=strange[0], folder=str(folder), count=len(strange))


def require_part(folder: Path, wanted: Mapping[str, Shape]) -> None:
    """Hold the weights of a whole model to the names and shapes of some of its tensors. Raises ArtifactError
    TT-A005 and TT-A027, ModelError for damaged files."""
    _require(folder, wanted, {tensor.name: tensor.shape for tensor in read_headers(folder).tensors})


def _require(folder: Path, wanted: Mapping[str, Shape], found: Mapping[str, Shape]) -> None:
    for name, shape in wanted.items():
        if name not in found:
            raise ArtifactError("TT-A005", name=name, folder=str(folder))
        if found[name] != shape:
            raise ArtifactError(
                "TT-A027", name=name, folder=str(folder), found=_sizes(found[name]), wanted=_sizes(shape)
            )


def trained_tensors_of(folder: Path) -> tuple[TrainedTensors, ...]:
    """What an adapter holds, like layers taken together. Raises what `adapter_tensors` raises."""
    return grouped_tensors((tensor.name.removeprefix(_PREFIX), tensor.shape) for tensor in adapter_tensors(folder))


def _sizes(shape: Shape) -> str:
    return " x ".join(map(str, shape)) or "1"
