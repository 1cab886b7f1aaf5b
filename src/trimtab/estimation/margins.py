"""An interval is never narrower than what recorded runs have shown: the ledger's margins over a formula's own."""

from trimtab.hardware.machine import Margin
from trimtab.units import Figure


def widened(figure: Figure, margin: Margin | None) -> Figure:
    """`figure` with an interval that holds its own and the margin's; as it is where there is no margin."""
    if margin is None:
        return figure
    low, high = min(figure.low, figure.value * margin.low), max(figure.high, figure.value * margin.high)
    return Figure(figure.value, low, high, figure.evidence)
