"""How long a waiting call will wait: an estimate from what the pool's calls have cost so far.

By Little's law a full pool of room c, whose calls each take s·t of it (size by time), completes c / E[s·t] calls a
second, and grants as many. Of these a tenant of weight w gets the share (w / n) / W, where n counts the waiting tenants
of its organisation and W sums over organisations the mean weight of their waiting tenants: that is what equal counters on
two levels come to. So the k-th of its calls waits for k / share grants. To that comes what the counters are ahead of
the least: the others first catch up, E[charge] / W of counter a grant. But never more grants than there are calls waiting,
since the pool never idles. A tenant at its own limit waits for its own calls instead.

The estimate leans to the short side (later arrivals are not foreseen): who was wrongly let in is ended at its deadline, and
who was wrongly refused would have lost an answer. It is reckoned in doubles, in the same order of steps as in the script.
"""

from dataclasses import dataclass

from tenantry.quota.slot import MOST_COUNTER, THOUSAND

# Time is measured in tenths of a millisecond, so that size by time stays below 2^53: 2·10^8 tokens for an hour.
TICK_US = 100
_LONGEST_TICKS = 36_000_000
# The means are of about so many calls: of all before there were as many, so that the first does not count for more.
_MEMORY = 64


@dataclass(slots=True)
class Measured:
    """Means over the calls that ended, 0 before the first: size by ticks, ticks, and charge; and how many calls there were, up to
    the memory."""

    calls: int = 0
    hold: int = 0
    ticks: int = 0
    charge: int = 0


def learn(measured: Measured, took_us: int, size: int, charge: int) -> None:
    """A call of this size ended after this time, with this charge in all."""
    ticks = min(max(1, took_us // TICK_US), _LONGEST_TICKS)
    measured.calls = min(measured.calls + 1, _MEMORY)
    measured.hold = _mean(measured.hold, size * ticks, measured.calls)
    measured.ticks = _mean(measured.ticks, ticks, measured.calls)
    measured.charge = _mean(measured.charge, max(1, charge), measured.calls)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a waiting call stands: the k-th of its tenant, whose weight and running calls these are. `neighbours` is n
    with the tenant in it, `weights` W in thousandths, the gaps are counters above the least."""

    place: int
    weight: int
    running: int
    most_running: int
    neighbours: int
    weights: int
    organisation_gap: int
    tenant_gap: int
    waiting: int


def expected_wait_us(measured: Measured, at: Place, room: int, held_us: int) -> int:
    """The estimate; 0 while nothing was measured."""
    if measured.hold == 0:
        return 0
    turns = float(at.place) * float(at.weights) * float(at.neighbours) / (float(THOUSAND) * float(at.weight))
    gap = float(at.organisation_gap) + float(at.tenant_gap) * float(at.neighbours)
    turns = turns + gap * float(at.weights) / float(THOUSAND) / float(measured.charge)
    ticks = min(turns, float(at.waiting)) * float(measured.hold) / float(room)
    own = float(max(0, at.running + at.place - at.most_running)) * float(measured.ticks) / float(at.most_running)
    return held_us + int(min(max(ticks, own) * float(TICK_US), float(MOST_COUNTER)))


def _mean(mean: int, value: int, calls: int) -> int:
    return max(1, mean + (value - mean) // calls)
