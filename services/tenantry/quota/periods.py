"""When days and months begin in a time zone: a day is as long as the zone's clocks make it."""

from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from tenantry.quota.entries import Calendar

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def is_zone(name: str) -> bool:
    """Whether it is a time zone's IANA name."""
    return name in _names()


def calendar_of(zone: str, now_us: int) -> Calendar:
    """The beginnings around `now_us`, which need not be exact: the books say which period is the current one."""
    day = datetime.fromtimestamp(now_us / 1_000_000, _zone(zone)).date()
    return _calendar(zone, day)


@lru_cache(maxsize=1_024)
def _calendar(zone: str, day: date) -> Calendar:
    month = day.replace(day=1)
    following = _after(month)
    days = (day - timedelta(days=1), day, day + timedelta(days=1), day + timedelta(days=2))
    months = ((month - timedelta(days=1)).replace(day=1), month, following, _after(following))
    before, current, after, last = (_begins(zone, one) for one in days)
    earlier, this, coming, end = (_begins(zone, one) for one in months)
    return Calendar((before, current, after, last), (earlier, this, coming, end))


def _after(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _begins(zone: str, day: date) -> int:
    """Microseconds; where midnight is skipped or comes twice, its first moment."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=_zone(zone))
    return (midnight - _EPOCH) // timedelta(microseconds=1)


@lru_cache(maxsize=1_024)
def _zone(name: str) -> tzinfo:
    """A zone that was known when it was set, and is not to this machine, is UTC: its tenant is served all the same."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(available_timezones())
