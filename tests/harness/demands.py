"""What applies to a tenant's requests, for tests of quota's books and rules."""

from tenantry.kit.owner import Tenant
from tenantry.quota import keys
from tenantry.quota.entries import Calendar, Demand, Limits, Subject

DAY_US = 86_400_000_000


def calendar_at(now_us: int, day_us: int = DAY_US, days_a_month: int = 30) -> Calendar:
    """Days of equal length since 1970, and months of so many."""
    day = now_us // day_us * day_us
    month_us = day_us * days_a_month
    month = now_us // month_us * month_us
    return Calendar(
        (day - day_us, day, day + day_us, day + 2 * day_us),
        (month - month_us, month, month + month_us, month + 2 * month_us),
    )


def subject_of(owner: Tenant, limits: Limits, end_user: str = "") -> Subject:
    """The tenant itself, or one of its end users, whom no rule names."""
    field = keys.counters_field(owner, end_user=end_user)
    if not end_user:
        return Subject(field, f"tenant:{owner.id}", limits, local=True)
    return Subject(field, f"end_user:{end_user}", limits, True, keys.counters_field(owner), keys.others_field(owner))


def demand_of(owner: Tenant, limits: Limits, *more: Subject, now_us: int = 0) -> Demand:
    """The tenant's own limits, and what else applies."""
    calendar = calendar_at(now_us)
    return Demand((subject_of(owner, limits), *more), calendar, calendar)
