"""What may be asked of the ledger, and what is asked when nothing is said."""

from typing import Any, cast

import pytest

from tenantry.insight.entries import Sums
from tenantry.insight.store import Ledger
from tenantry.insight.usage import LONGEST_US, UsageReading
from tenantry.kit.errors import InvalidArgument
from tests.contract.insight.entry import ACME
from tests.harness.clock import FrozenClock

NOW_US = 1_700_000_000_000_000


class Asked:
    """A ledger that notes what it is asked."""

    def __init__(self) -> None:
        self.range: tuple[int, int] = (0, 0)

    async def sums(self, owner: Any, start_us: int, end_us: int, grouping: Any) -> tuple[Sums, list[Sums]]:
        self.range = (start_us, end_us)
        return Sums(), []


async def test_without_times_the_last_thirty_days_are_summed_up_to_this_moment(clock: FrozenClock) -> None:
    asked = Asked()
    await UsageReading(cast(Ledger, asked), clock).sums(ACME, None, None, None)
    assert asked.range[0] == NOW_US - 30 * 86_400_000_000 and asked.range[1] > NOW_US


async def test_the_end_is_the_one_asked_for(clock: FrozenClock) -> None:
    asked = Asked()
    await UsageReading(cast(Ledger, asked), clock).sums(ACME, 5, 10, None)
    assert asked.range == (5, 10)


async def test_a_time_that_is_empty_or_longer_than_a_year_is_refused(clock: FrozenClock) -> None:
    reading = UsageReading(cast(Ledger, Asked()), clock)
    for start, end in ((10, 10), (11, 10), (0, LONGEST_US + 1), (NOW_US + 1, None)):
        with pytest.raises(InvalidArgument):
            await reading.sums(ACME, start, end, None)


@pytest.mark.parametrize("request_id", ["x" * 257, "a\0"])
async def test_a_request_id_that_none_can_have_is_refused(clock: FrozenClock, request_id: str) -> None:
    with pytest.raises(InvalidArgument):
        await UsageReading(cast(Ledger, Asked()), clock).entries(ACME, request_id, None, 10)
