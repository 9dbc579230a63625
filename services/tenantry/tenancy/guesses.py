"""Slows down guessing, and never a caller whose credential is good.

Each source (an IPv4 address, or a /64 of IPv6, which is what one customer has) may fail so many times at once and so many a
minute. A source that has used that up is looked at no more, but for credentials that are remembered as valid, which pass
before this is asked, and for a share of the rest that all such sources have together: so a good credential that comes for the
first time from behind the address of somebody who guesses is let in, soon if not at once. Whoever has many addresses has as
many allowances; what they cost together is bounded by what a failure costs, and their memory by MOST_SOURCES.
"""

from collections import OrderedDict
from dataclasses import dataclass

from tenantry.kit.clock import Clock
from tenantry.kit.errors import Reason, ResourceExhausted
from tenantry.tenancy.networks import address_of

BURST = 300.0
A_SECOND = 1.0
# Of sources over their allowance, all together.
SPARE_BURST = 100.0
SPARE_A_SECOND = 100.0
MOST_SOURCES = 20_000
_V6_PREFIX_BITS = 64


@dataclass(slots=True)
class _Bucket:
    """Tokens at a monotonic time; it fills up by itself."""

    tokens: float
    at: float

    def fill(self, now: float, burst: float, a_second: float) -> None:
        self.tokens = min(burst, self.tokens + (now - self.at) * a_second)
        self.at = now

    def take(self) -> bool:
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


class Guesses:
    """Counts failures by source. The least recently failing source is forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sources: OrderedDict[str, _Bucket] = OrderedDict()
        self._spare = _Bucket(SPARE_BURST, clock.monotonic())

    def check(self, source: str) -> None:
        """Asked before a credential that is not remembered is looked at."""
        bucket = self._sources.get(source)
        now = self._clock.monotonic()
        if bucket is None:
            return
        bucket.fill(now, BURST, A_SECOND)
        if bucket.tokens >= 1.0:
            return
        self._spare.fill(now, SPARE_BURST, SPARE_A_SECOND)
        if not self._spare.take():
            raise _too_many(bucket)

    def failed(self, source: str) -> None:
        """Counts a failure. Raises in the place of the refusal when the source has used up its allowance."""
        now = self._clock.monotonic()
        bucket = self._sources.setdefault(source, _Bucket(BURST, now))
        self._sources.move_to_end(source)
        if len(self._sources) > MOST_SOURCES:
            self._sources.popitem(last=False)
        bucket.fill(now, BURST, A_SECOND)
        if not bucket.take():
            raise _too_many(bucket)


def source_of(client_address: str) -> str:
    """What failures from an address are counted under; all whose address is not known share one."""
    address = address_of(client_address)
    if address is None:
        return ""
    if address.version == 4:
        return str(address)
    return str(int(address) >> (128 - _V6_PREFIX_BITS))


def _too_many(bucket: _Bucket) -> ResourceExhausted:
    return ResourceExhausted(
        Reason.TOO_MANY_FAILURES,
        "too many calls from this address came with credentials that are not valid",
        retry_after_s=max(1.0, (1.0 - bucket.tokens) / A_SECOND),
    )
