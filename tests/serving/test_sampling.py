"""What is drawn at the edges of a temperature."""

import pytest
import torch

from trimtab.serving.facts import Sampling
from trimtab.serving.sampling import Draw, next_tokens

LOGITS = torch.tensor([[3.0, 9.0, -2.0, 8.5], [1.0, 0.0, 20.0, 19.0]])


@pytest.mark.parametrize("temperature", [1e-45, 1e-38, 1e-7, 1e-6, 1e-4])
@pytest.mark.parametrize("top_p", [1.0, 0.5])
def test_as_good_as_no_temperature_writes_the_likeliest(temperature: float, top_p: float) -> None:
    draws = [Draw.of(Sampling(temperature=temperature, top_p=top_p, seed=seed)) for seed in (1, 2)]
    assert next_tokens(LOGITS, draws) == [1, 2]
