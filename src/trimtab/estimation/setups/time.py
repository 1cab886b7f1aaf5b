"""Time of a Setup's step on a GPU: the work over a rate, or the launching of kernels, whichever is longer.

    micro-step = max(work / (dense peak x utilisation), layers x launch)
    step       = micro-batches x micro-step + bytes of the optimiser's step / bandwidth

Work: two FLOP a weight and token forward, two for the gradient of the input, two for the gradient of a trained
weight, two once more with recompute (Kaplan et al. 2020, arXiv 2001.08361); attention 4 L d forward a token and
layer, halved for causal kernels. The head counts. Short steps wait for Python: a layer takes so long to launch,
forward and backward, however little it computes; that is why a utilisation falls with few tokens a step.

Constants: fitted on published runs, each source judged by constants fitted on the others (docs/rows.md has the
errors). The noise floor of repeated runs is 7 % (median) and 33 % (nine in ten): no figure here is finer.
"""

from dataclasses import dataclass

from trimtab.estimation.setups.setup import BYTES_OF, Setup
from trimtab.estimation.setups.trained import Trained, matrix_numbers, trained
from trimtab.hardware.machine import Device
from trimtab.units import Evidence, Figure

_RECOMPUTE_LAUNCH = 1.2  # a layer's forward is launched once more; the GPU has something to do meanwhile
_COMPILED_LAUNCH = 0.5
_OTHER_LAUNCH = 3.0  # methods without a row of their own: several products and rotations where LoRA has two
# Cards whose power does not let them hold their peak, by name: a rule. Published steps on T4 and A10 imply a third
# to a half of what their datasheets, beside an A100's, would give.
_SUSTAINED = {"T4": 0.45, "L4": 0.6, "A10": 0.55, "P100-16GB-PCIe": 0.6}
_SPREAD = 0.4
_DEFAULT_BANDWIDTH = 1e12


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """The fitted constants. Utilisations are shares of the dense peak that matrices reach with enough tokens: of a
    plain step, and of one that is packed or compiled. `layer_seconds`: to launch a layer forward and backward;
    `beside_seconds`: each matrix with LoRA beside it; `engine_seconds`: DeepSpeed's hooks, a layer."""

    plain: float = 0.50
    tuned: float = 0.56
    layer_seconds: float = 0.0033
    beside_seconds: float = 0.0004
    engine_seconds: float = 0.004


RATES = Rates()


@dataclass(frozen=True, kw_only=True, slots=True)
class SetupTime:
    """`tokens_per_second` of one device, padding counted, at the mean length of the rows."""

    step_seconds: Figure
    tokens_per_second: Figure


def setup_time(setup: Setup, rates: Rates = RATES) -> SetupTime | None:
    """Seconds of one optimiser step; None where no device is named whose peak is known. A GPU without bf16
    computes it at the rate of fp32."""
    rate = _rate(setup, rates)
    if rate is None:
        return None
    found = trained(setup)
    length = setup.mean_length or setup.length
    tokens = setup.micro_batch * (length + setup.added_tokens)
    work = tokens * _flop_per_token(setup, found, length)
    micro = max(work / rate, _launch_seconds(setup, found, rates)) + _unpack_seconds(setup)
    step = setup.micro_batches * micro + _update_seconds(setup, found)
    return SetupTime(
        step_seconds=Figure.within(step, _SPREAD, Evidence.FORMULA),
        tokens_per_second=Figure.within(setup.micro_batches * tokens / step, _SPREAD, Evidence.FORMULA),
    )


def _rate(setup: Setup, rates: Rates) -> float | None:
    device = setup.device
    peak = None if device is None else device.peak(setup.compute) or device.peak("fp32")
    if peak is None:
        return None
    return sustained_share(device) * peak * (rates.tuned if setup.packed or setup.compiled else rates.plain)


def sustained_share(device: Device | None) -> float:
    """Of its dense peak, what the power of a card lets it hold."""
    return 1.0 if device is None else _SUSTAINED.get(device.name, 1.0)


def _flop_per_token(setup: Setup, found: Trained, length: float) -> float:
    spec = setup.spec
    numbers = spec.layers * _numbers_met(setup)
    head = spec.vocab * spec.hidden
    attention = 2.0 * length * spec.heads * spec.head_dim * spec.layers
    lowest = max(0, found.lowest_layer)
    share = (spec.layers - lowest) / spec.layers  # of the layers gradients go through
    forward = 2.0 * (numbers + head) + attention
    again = share * (2.0 * numbers + attention) if setup.recompute else 0.0
    backward = share * (2.0 * numbers + 2.0 * attention) + 2.0 * head
    own = 2.0 * (share * numbers + (head if found.head else 0)) if found.own_matrices else 0.0
    return forward + again + backward + own + 6.0 * (found.beside if found.matrices else 0) + 2.0 * found.copied


def _numbers_met(setup: Setup) -> float:
    """Numbers of a layer's matrices one token is multiplied with."""
    spec = setup.spec
    met = sum(linear.inputs * linear.outputs for linear in spec.linears)
    if spec.experts:
        met += spec.experts_per_token * (3 if spec.gated_ffn else 2) * spec.hidden * spec.ffn
    return float(met) if met else float(matrix_numbers(spec))


def _launch_seconds(setup: Setup, found: Trained, rates: Rates) -> float:
    layer = rates.layer_seconds * (_COMPILED_LAUNCH if setup.compiled else 1.0)
    beside = rates.beside_seconds * (_OTHER_LAUNCH if setup.method == "other" else 1.0)
    layer += beside * len(found.matrices)
    if setup.recompute:
        layer *= _RECOMPUTE_LAUNCH
    layer += rates.engine_seconds if setup.sharding.weights and setup.sharding.engine else 0.0
    return setup.spec.layers * layer


def _unpack_seconds(setup: Setup) -> float:
    """Quantised matrices are unpacked forward, backward, and once more with recompute."""
    passes = 3 if setup.recompute else 2
    numbers = setup.spec.layers * matrix_numbers(setup.spec)
    return passes * numbers * setup.quant.unpack_bytes / _bandwidth(setup)


def _update_seconds(setup: Setup, found: Trained) -> float:
    """Weights, gradients and states read, weights and states written."""
    states = 2 * setup.optimizer.states * BYTES_OF[setup.weights] + 2 * setup.optimizer.state_bytes
    share = setup.devices if setup.sharding.states else 1
    return found.numbers * (3 * BYTES_OF[setup.weights] + states) / _bandwidth(setup) / share


def _bandwidth(setup: Setup) -> float:
    return (setup.device.bandwidth if setup.device else 0.0) or _DEFAULT_BANDWIDTH
