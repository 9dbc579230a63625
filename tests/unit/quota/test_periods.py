"""When days and months begin."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.quota.periods import calendar_of, is_zone

HOUR_US = 3_600_000_000


def us(text: str) -> int:
    return (
        int(datetime.fromisoformat(f"{text}+00:00" if "T" in text else f"{text}T00:00+00:00").timestamp()) * 1_000_000
    )


def test_days_and_months_begin_at_the_zones_midnight() -> None:
    calendar = calendar_of("Asia/Kolkata", us("2026-03-31T18:29"))
    assert calendar.days[1:3] == (us("2026-03-30T18:30"), us("2026-03-31T18:30"))
    assert calendar.months == tuple(
        us(text) for text in ("2026-01-31T18:30", "2026-02-28T18:30", "2026-03-31T18:30", "2026-04-30T18:30")
    )


def test_a_day_is_as_long_as_the_zones_clocks_make_it() -> None:
    spring = calendar_of("Europe/Berlin", us("2026-03-29T10:00"))
    autumn = calendar_of("Europe/Berlin", us("2026-10-25T10:00"))
    assert spring.days[2] - spring.days[1] == 23 * HOUR_US
    assert autumn.days[2] - autumn.days[1] == 25 * HOUR_US


@pytest.mark.parametrize("zone", ["", "UTC+1", "Mars/Olympus", "../UTC", "utc\0", "Europe/Berlin "])
def test_a_name_that_no_zone_has_is_none(zone: str) -> None:
    assert not is_zone(zone)


@given(
    st.sampled_from(["UTC", "Pacific/Kiritimati", "Pacific/Pago_Pago", "America/Sao_Paulo", "Africa/Cairo"]),
    st.integers(us("2000-01-01"), us("2100-01-01")),
    st.integers(-20 * 3600, 20 * 3600),
)
def test_whoever_is_wrong_by_hours_names_the_same_current_period(zone: str, now_us: int, wrong_s: int) -> None:
    true, wrong = calendar_of(zone, now_us), calendar_of(zone, now_us + wrong_s * 1_000_000)
    assert true.days[1] <= now_us < true.days[2] and true.months[1] <= now_us < true.months[2]
    for mine, theirs in ((true.days, wrong.days), (true.months, wrong.months)):
        place = theirs.index(mine[1])
        assert place < 3 and theirs[place + 1] == mine[2]


def test_a_zone_that_this_machine_does_not_know_any_more_has_the_days_of_utc() -> None:
    assert calendar_of("Mars/Olympus", us("2026-03-31T18:29")) == calendar_of("UTC", us("2026-03-31T18:29"))
