"""Rate limits as a leaky bucket in whole numbers: the rule of the scripts, and its executable specification.

The Generic Cell Rate Algorithm (ITU-T I.371, Annex A) in its leaky-bucket form: a level leaks at the rate, an
admission adds what it takes, and is refused when the level would rise above the burst. What is new here are holds,
which take a ceiling and give some of it back later, and the promise is that **in any time t, admitted ≤ burst +
rate·t, exactly**, each call counted at its admission with the smaller of held and settled.

Taking what is given back off the level breaks that promise: time may have leaked some of the hold already, and then
the refund would be paid with the room that later calls took. The exact level is the largest, over all moments s, of
what was admitted since s less what leaked since s; a refund lowers only the terms of moments before its own admission.
With charges kept as a stack that is simple to keep: **time leaks the newest charge first, and a refund takes from its
own charge and then from older ones, never from newer ones.**

Units: a token (or request) is 60,000,000 units, so that a rate of n a minute leaks n units a microsecond. All is whole
numbers below 2^53, exact in Lua's doubles: times to the year 2255, bursts and rates to 10^8, a level with its debts to
1.5·10^8.
"""

from dataclasses import dataclass, replace

UNITS = 60_000_000
MOST_UNITS = 9_000_000_000_000_000
MOST_AMOUNT = 100_000_000
MOST_CHARGES = 128

NEVER = -1


@dataclass(frozen=True, slots=True)
class Charge:
    """What is left of the admissions up to `number` that were not counted by an older charge."""

    number: int
    units: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """Charges from the oldest to the newest, as they were at `at_us`. `closed`: nothing of the newest can be given
    back."""

    at_us: int
    rate: int
    closed: bool = False
    charges: tuple[Charge, ...] = ()

    @property
    def level(self) -> int:
        """Units that are taken."""
        return sum(charge.units for charge in self.charges)


def leak(bucket: Bucket, now_us: int, rate: int) -> Bucket:
    """The bucket at `now_us`, from then on with `rate`. Until then the slower of both rates counts, since nobody knows
    when it changed. A clock that went back leaks nothing."""
    leaked = min(bucket.rate, rate) * max(0, now_us - bucket.at_us)
    charges = list(bucket.charges)
    closed = bucket.closed
    while charges and leaked > 0:
        newest = charges.pop()
        if newest.units > leaked:
            charges.append(replace(newest, units=newest.units - leaked))
            break
        leaked -= newest.units
        closed = False
    return Bucket(max(now_us, bucket.at_us), rate, closed, tuple(charges))


def wait_us(bucket: Bucket, amount: int, burst: int) -> int:
    """Microseconds until the leaked bucket admits `amount`: 0 at once, NEVER if it alone is larger than the burst."""
    if amount > burst:
        return NEVER
    over = bucket.level - (burst - amount) * UNITS
    return -(-over // bucket.rate) if over > 0 else 0


def take(bucket: Bucket, number: int, amount: int) -> Bucket:
    """Charge an admission. Numbers rise with each."""
    if amount == 0:
        return bucket
    return _push(bucket, number, amount * UNITS, closed=False)


def owe(bucket: Bucket, number: int, amount: int) -> Bucket:
    """Charge what was settled above its hold: nobody was asked, and later admissions wait for it. A level has a
    ceiling, above which debts are forgiven."""
    units = min(min(amount, MOST_AMOUNT) * UNITS, MOST_UNITS - bucket.level)
    return _push(bucket, number, units, closed=True) if units > 0 else bucket


def give_back(bucket: Bucket, number: int, amount: int) -> Bucket:
    """Refund `amount` of the admission `number`."""
    left = amount * UNITS
    older = [charge for charge in bucket.charges if charge.number <= number]
    newer = bucket.charges[len(older) :]
    closed = bucket.closed
    while older and left > 0:
        charge = older.pop()
        if charge.units > left:
            older.append(replace(charge, units=charge.units - left))
            break
        left -= charge.units
        closed = closed and bool(newer)
    return replace(bucket, closed=closed, charges=(*older, *newer))


def close(bucket: Bucket, number: int) -> Bucket:
    """Say that nothing more will be given back of the admission: its charge needs no place of its own any more."""
    charges = list(bucket.charges)
    place = next((place for place, charge in enumerate(charges) if charge.number == number), None)
    if place is None:
        return bucket
    if place == len(charges) - 1:
        return replace(bucket, closed=True)
    charges[place + 1] = _joined(charges[place], charges[place + 1])
    del charges[place]
    return replace(bucket, charges=tuple(charges))


def available(bucket: Bucket, burst: int) -> int:
    """How much the leaked bucket would admit now; below 0 when it has debts."""
    return (burst * UNITS - bucket.level) // UNITS


def _push(bucket: Bucket, number: int, units: int, *, closed: bool) -> Bucket:
    charges = [*bucket.charges, Charge(number, units)]
    if bucket.closed and len(charges) > 1:
        charges[-2:] = [_joined(charges[-2], charges[-1])]
    if len(charges) > MOST_CHARGES:
        # Safe, and not quite exact: the oldest hold can no longer take back its own charge, so its refund may be
        # smaller.
        charges[:2] = [_joined(charges[0], charges[1])]
    return replace(bucket, closed=closed, charges=tuple(charges))


def _joined(older: Charge, newer: Charge) -> Charge:
    return Charge(newer.number, older.units + newer.units)
