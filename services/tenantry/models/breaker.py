"""The circuit breaker: a model that failed several times in a row is left alone for a while, then tried by one call.

closed --FAILURES in a row--> open --its time is over--> one call tries: fails -> open for twice as long, succeeds -> closed
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

FAILURES = 5
OPEN_S = 5.0
LONGEST_OPEN_S = 60.0
# A call that tries an open circuit and never comes back is forgotten after this time.
TRIAL_S = 60.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """`failures` in a row; `open_until` and `trial_until` are monotonic seconds, 0 for not."""

    failures: int = 0
    open_until: float = 0.0
    trial_until: float = 0.0


CLOSED = Circuit()


def admit(circuit: Circuit, now: float) -> tuple[Circuit, float]:
    """The circuit after asking for a call, and how long the call has to wait: 0 when it may be made."""
    if circuit.failures < FAILURES:
        return circuit, 0.0
    if now < circuit.open_until:
        return circuit, circuit.open_until - now
    if now < circuit.trial_until:
        return circuit, 1.0
    return Circuit(circuit.failures, circuit.open_until, now + TRIAL_S), 0.0


def failed(circuit: Circuit, now: float) -> Circuit:
    """The circuit after a call failed."""
    failures = circuit.failures + 1
    if failures < FAILURES:
        return Circuit(failures)
    doubled = OPEN_S * 2 ** min(failures - FAILURES, 10)
    return Circuit(failures, now + min(doubled, LONGEST_OPEN_S))


def released(circuit: Circuit) -> Circuit:
    """The circuit after a call that proves nothing, such as one that its caller cancelled."""
    return Circuit(circuit.failures, circuit.open_until) if circuit.trial_until else circuit


class Circuits:
    """The circuits of many routes; only those that failed lately are kept, and at most `size`."""

    def __init__(self, size: int = 4096) -> None:
        self._size = size
        self._circuits: OrderedDict[Hashable, Circuit] = OrderedDict()

    def admit(self, route: Hashable, now: float) -> float:
        """How long a call has to wait, 0 when it may be made now."""
        circuit = self._circuits.get(route)
        if circuit is None:
            return 0.0
        self._circuits[route], wait_s = admit(circuit, now)
        return wait_s

    def failed(self, route: Hashable, now: float) -> None:
        """A call failed by the provider's fault."""
        self._circuits[route] = failed(self._circuits.get(route, CLOSED), now)
        self._circuits.move_to_end(route)
        if len(self._circuits) > self._size:
            self._circuits.popitem(last=False)

    def succeeded(self, route: Hashable) -> None:
        """A call was answered, be it with a refusal: the provider is there."""
        self._circuits.pop(route, None)

    def released(self, route: Hashable) -> None:
        """A call ended without saying anything of the provider."""
        circuit = self._circuits.get(route)
        if circuit is not None:
            self._circuits[route] = released(circuit)
