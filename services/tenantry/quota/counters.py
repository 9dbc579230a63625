"""What is counted for one subject of limits: the rule of the scripts, and its executable specification.

A subject is a tenant, its organisation, a key, an end user, a model, or several of these together. Each of its limits has a
counter: rates a GCRA bucket, budgets a calendar counter, concurrent requests a number. What is not limited is not counted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tenantry.quota import budgets, gcra
from tenantry.quota.budgets import Budget
from tenantry.quota.entries import Amounts, Calendar, Limits

RATES = ("requests_per_minute", "tokens_per_minute", "input_tokens_per_minute", "output_tokens_per_minute")
BUDGETS = ("tokens_per_day", "tokens_per_month", "cost_micros_per_day", "cost_micros_per_month")
CONCURRENT = "concurrent_requests"
# Named by their place in the scripts' answers.
MEASURES = (*RATES, *BUDGETS, CONCURRENT)
_IN_TENTHS = (5, 8, 10)
PERCENT = (0, 50, 80, 100)
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A bucket, and its last warning: the hour times four, and how many of the three were given in it."""

    bucket: gcra.Bucket
    warned: int = 0


@dataclass(frozen=True, slots=True)
class Counters:
    """`number` is that of the newest admission. Of `rates` and `budgets` those are None that nothing limits. `crowd` is the
    crowd in whose bounded number of counters these are counted, if any."""

    number: int
    running: int
    crowd: str
    rates: tuple[Rate | None, ...]
    budgets: tuple[Budget | None, ...]


def at(counters: Counters | None, now_us: int, limits: Limits, calendar: Calendar, crowd: str = "") -> Counters:
    """The counters as they are now under these limits; what is newly limited begins empty, what is no longer is dropped."""
    known = counters or Counters(0, 0, crowd, (None,) * len(RATES), (None,) * len(BUDGETS))
    rates = tuple(
        _leaked(rate, now_us, per_minute) if per_minute else None
        for rate, (per_minute, _) in zip(known.rates, limits.rates, strict=True)
    )
    periods = (calendar.days, calendar.months, calendar.days, calendar.months)
    counted = tuple(
        budgets.current(budget, *budgets.period(starts, now_us), known.number + 1) if most else None
        for budget, most, starts in zip(known.budgets, limits.budgets, periods, strict=True)
    )
    return replace(known, rates=rates, budgets=counted)


def as_known(counters: Counters, now_us: int) -> Counters:
    """The counters as they are now, each bucket leaking at the rate it is known by."""
    return replace(
        counters, rates=tuple(_leaked(rate, now_us, rate.bucket.rate) if rate else None for rate in counters.rates)
    )


def waits(counters: Counters, now_us: int, amounts: Amounts, limits: Limits) -> list[tuple[str, int, int]]:
    """Each limit that refuses: its measure, what is used of it, and how long it makes the request wait."""
    found: list[tuple[str, int, int]] = []
    for name, rate, amount, (_, burst) in zip(RATES, counters.rates, _of_rates(amounts), limits.rates, strict=True):
        if rate and amount > 0 and (wait_us := gcra.wait_us(rate.bucket, amount, burst)):
            found.append((name, used(rate), wait_us))
    for name, budget, amount, most in zip(BUDGETS, counters.budgets, _of_budgets(amounts), limits.budgets, strict=True):
        if budget and (wait_us := budgets.wait_us(budget, now_us, amount, most)):
            found.append((name, budget.used, wait_us))
    if amounts.requests and 0 < limits.concurrent_requests <= counters.running:
        found.append((CONCURRENT, counters.running, 0))
    return found


def take(counters: Counters, amounts: Amounts) -> Counters:
    """Count an admission, under the next number."""
    number = counters.number + 1
    taken = _each(
        replace(counters, number=number),
        amounts,
        lambda bucket, amount: gcra.take(bucket, number, amount),
        budgets.take,
    )
    return replace(taken, running=counters.running + amounts.requests)


def give_back(counters: Counters, number: int, amounts: Amounts) -> Counters:
    """Refund what the admission `number` held too much; nothing more will be given back of it."""
    return _each(
        counters,
        amounts,
        lambda bucket, amount: gcra.close(gcra.give_back(bucket, number, amount), number),
        lambda budget, amount: budgets.give_back(budget, number, amount),
    )


def owe(counters: Counters, now_us: int, amounts: Amounts) -> Counters:
    """Count what was settled above its hold: nobody was asked, and later admissions wait for it."""
    number = counters.number + 1
    return _each(
        replace(counters, number=number),
        amounts,
        lambda bucket, amount: gcra.owe(bucket, number, amount),
        lambda budget, amount: budgets.owe(budget, now_us, number, amount),
    )


def warn(
    counters: Counters, now_us: int, limits: Limits, full: Sequence[str] = ()
) -> tuple[Counters, list[tuple[str, int]]]:
    """The measures of which more than 50, 80 or 100 % are used, or that are `full`, and the percentage, where that was not
    said in this period, or of a rate in this hour, before."""
    said: list[tuple[str, int]] = []
    rates, counted = [*counters.rates], [*counters.budgets]
    for place, (rate, (_, burst)) in enumerate(zip(counters.rates, limits.rates, strict=True)):
        if rate is None:
            continue
        steps = 3 if RATES[place] in full else _steps(rate.bucket.level, burst * gcra.UNITS)
        warned = now_us // HOUR_US * 4 + steps
        if steps and warned > rate.warned:
            rates[place] = replace(rate, warned=warned)
            said.append((RATES[place], PERCENT[steps]))
    for place, (budget, most) in enumerate(zip(counters.budgets, limits.budgets, strict=True)):
        if budget is None:
            continue
        steps = 3 if BUDGETS[place] in full else _steps(budget.used, most)
        if steps > budget.warned:
            counted[place] = replace(budget, warned=steps)
            said.append((BUDGETS[place], PERCENT[steps]))
    return replace(counters, rates=tuple(rates), budgets=tuple(counted)), said


def used(rate: Rate) -> int:
    """How much of a bucket's burst is taken, rounded up."""
    return -(-rate.bucket.level // gcra.UNITS)


def warned_percent(counters: Counters, now_us: int) -> tuple[int, ...]:
    """What the last warning of each rate and budget said."""
    hour = now_us // HOUR_US
    return (
        *(PERCENT[rate.warned % 4] if rate and rate.warned // 4 == hour else 0 for rate in counters.rates),
        *(PERCENT[budget.warned] if budget else 0 for budget in counters.budgets),
    )


def says_nothing(counters: Counters, now_us: int) -> bool:
    """Whether new counters would be the same."""
    return (
        counters.running == 0
        and not any(rate and rate.bucket.charges for rate in counters.rates)
        and not any(budget and budget.used > 0 and budget.end_us > now_us for budget in counters.budgets)
    )


def _leaked(rate: Rate | None, now_us: int, per_minute: int) -> Rate:
    if rate is None:
        return Rate(gcra.Bucket(now_us, per_minute))
    return replace(rate, bucket=gcra.leak(rate.bucket, now_us, per_minute))


def _of_rates(amounts: Amounts) -> tuple[int, ...]:
    return amounts.requests, amounts.tokens, amounts.input, amounts.output


def _of_budgets(amounts: Amounts) -> tuple[int, ...]:
    return amounts.tokens, amounts.tokens, amounts.cost, amounts.cost


def _each(
    counters: Counters,
    amounts: Amounts,
    of_bucket: Callable[[gcra.Bucket, int], gcra.Bucket],
    of_budget: Callable[[Budget, int], Budget],
) -> Counters:
    rates = tuple(
        replace(rate, bucket=of_bucket(rate.bucket, amount)) if rate else None
        for rate, amount in zip(counters.rates, _of_rates(amounts), strict=True)
    )
    counted = tuple(
        of_budget(budget, amount) if budget else None
        for budget, amount in zip(counters.budgets, _of_budgets(amounts), strict=True)
    )
    return replace(counters, rates=rates, budgets=counted)


def _steps(amount: int, most: int) -> int:
    """How many of the three warnings the amount is worth. (Ten times the largest amount would not be exact in Lua.)"""
    tens, rest = divmod(most, 10)
    return sum(amount >= tens * tenths - (-rest * tenths // 10) for tenths in _IN_TENTHS)
