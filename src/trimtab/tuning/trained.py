"""What of a model is trained, by place: its trained parameters, those of like layers taken together."""

from torch import nn

from trimtab.methods import TrainedTensors, grouped_tensors


def trained_tensors(model: nn.Module) -> tuple[TrainedTensors, ...]:
    """In the order of the model; together they are all that gets gradients. Works on the meta device."""
    return grouped_tensors(
        (name, tuple(parameter.shape)) for name, parameter in model.named_parameters() if parameter.requires_grad
    )
