"""A circuit breaker: a model that failed several times in a row is left alone for a while, then tried by one call.

After Nygard, *Release It!* (2018), chapter 5. The rule is pure; the table is bounded.
"""

from collections import OrderedDict
from dataclasses import dataclass

FAILURES = 5
PAUSE_S = 10.0
_MOST = 4096


@dataclass(frozen=True, slots=True)
class Circuit:
    """Failures in a row, and until when no call passes (monotonic seconds; 0 when it is closed)."""

    failures: int = 0
    paused_until: float = 0.0


CLOSED = Circuit()


def admit(circuit: Circuit, now: float) -> tuple[bool, Circuit]:
    """Whether a call may pass. The one that passes after a pause is a trial: it renews the pause for all others."""
    if circuit.failures < FAILURES:
        return True, circuit
    if now < circuit.paused_until:
        return False, circuit
    return True, Circuit(circuit.failures, now + PAUSE_S)


def failed(circuit: Circuit, now: float) -> Circuit:
    """The circuit after one more failure."""
    failures = min(circuit.failures + 1, FAILURES)
    return Circuit(failures, now + PAUSE_S if failures == FAILURES else 0.0)


class Circuits:
    """A circuit for each tenant and model. A tenant's failures pause its own calls only: what makes a provider fail may be
    in the request, and must not shut the others out."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._circuits: OrderedDict[tuple[str, str], Circuit] = OrderedDict()

    def admit(self, tenant: str, model: str, now: float) -> float:
        """0 when a call may pass, else the seconds until the next trial."""
        circuit = self._circuits.get((tenant, model))
        if circuit is None:
            return 0.0
        passes, changed = admit(circuit, now)
        self._circuits[tenant, model] = changed
        return 0.0 if passes else circuit.paused_until - now

    def failed(self, tenant: str, model: str, now: float) -> None:
        """A call failed for a reason that is the provider's."""
        key = (tenant, model)
        self._circuits[key] = failed(self._circuits.get(key, CLOSED), now)
        self._circuits.move_to_end(key)
        if len(self._circuits) > self._most:
            self._circuits.popitem(last=False)

    def answered(self, tenant: str, model: str) -> None:
        """The provider answered, be it with a refusal."""
        self._circuits.pop((tenant, model), None)

    def __len__(self) -> int:
        return len(self._circuits)
