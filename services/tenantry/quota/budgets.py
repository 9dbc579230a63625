"""Budgets of calendar periods: the rule of the scripts, and its executable specification.

What is counted belongs to the period of its admission. A settlement gives back what was held and not used while that period
lasts; what was used above the hold counts in the period of the settlement. Lua knows no time zones, so the beginnings of the
periods come with the request, and which of them is the current one is decided by the books' own clock.

A budget begins anew when the current period begins at or after the end of the one it counts. So a time zone that is changed
every hour gains nothing: what was used stays until both calendars have turned.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

NEVER = -1
MOST_USED = 9_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class Budget:
    """What was used of the period that ends at `end_us`, by admissions from number `first` on. `warned` counts the warnings
    that were given (50, 80, 100 %)."""

    end_us: int
    used: int
    first: int
    warned: int = 0


def period(starts: Sequence[int], now_us: int) -> tuple[int, int]:
    """The period that holds `now_us`: its beginning and its end. Outside of all, the first or the last."""
    place = 0
    while place < len(starts) - 2 and now_us >= starts[place + 1]:
        place += 1
    return starts[place], starts[place + 1]


def current(budget: Budget | None, start_us: int, end_us: int, number: int) -> Budget:
    """The budget in this period; `number` is that of the next admission."""
    if budget is None or start_us >= budget.end_us:
        return Budget(end_us, 0, number)
    return replace(budget, end_us=max(budget.end_us, end_us))


def wait_us(budget: Budget, now_us: int, amount: int, most: int) -> int:
    """Microseconds until the current budget may admit `amount`: 0 at once, NEVER if it alone is larger."""
    if amount > most:
        return NEVER
    return max(1, budget.end_us - now_us) if amount > 0 and budget.used + amount > most else 0


def take(budget: Budget, amount: int) -> Budget:
    """Count an admission."""
    return replace(budget, used=min(MOST_USED, budget.used + amount))


def give_back(budget: Budget, number: int, amount: int) -> Budget:
    """Refund `amount` of the admission `number`, if it was counted here."""
    return replace(budget, used=max(0, budget.used - amount)) if number >= budget.first else budget


def owe(budget: Budget, now_us: int, number: int, amount: int) -> Budget:
    """Count what was settled above its hold, in the period of now. When that is a new one nobody knows its end here: the next
    request tells it."""
    if amount == 0:
        return budget
    if now_us >= budget.end_us:
        return Budget(now_us + 1, min(amount, MOST_USED), number)
    return take(budget, amount)
