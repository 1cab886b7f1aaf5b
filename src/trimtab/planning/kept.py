"""KeptEstimates: estimates that were made before, for who plans the same model, data and machine again and
again."""

from dataclasses import dataclass, field

from trimtab.data.spec import DataSpec
from trimtab.estimation import estimate
from trimtab.estimation.estimate import Estimate
from trimtab.hardware.machine import Machine
from trimtab.methods import Strategy
from trimtab.models.spec import ModelSpec

_MOST = 20_000


@dataclass(frozen=True, slots=True)
class KeptEstimates:
    """Of these very facts. Threads may share it: two may make the same estimate, and either is right."""

    spec: ModelSpec
    data: DataSpec
    machine: Machine
    made: dict[Strategy, Estimate] = field(default_factory=dict, compare=False, repr=False)

    def estimate(self, strategy: Strategy, spec: ModelSpec, data: DataSpec, machine: Machine) -> Estimate:
        """As `estimation.estimate`; of other facts nothing is kept."""
        if spec is not self.spec or data is not self.data or machine is not self.machine:
            return estimate(strategy, spec, data, machine)
        found = self.made.get(strategy)
        if found is None:
            if len(self.made) >= _MOST:
                self.made.clear()
            found = self.made[strategy] = estimate(strategy, spec, data, machine)
        return found
