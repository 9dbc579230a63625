"""Tenants' own limits in front of a simulated pool, by the rules of the books (`holds.py`).

What a request will use is known here, so it is held exactly: what the real service holds too much and gives back, or must owe, is
not simulated. Days are those of UTC, the first of which begins with the trace.
"""

from dataclasses import dataclass, field

from tenantry.kit.owner import Tenant
from tenantry.quota.budgets import NEVER
from tenantry.quota.entries import NO_RULES, Amounts, Ask, Demand, Full, Limits, Refused
from tenantry.quota.holds import Holds, Terms
from tenantry.quota.limit_rules import About, subjects
from tenantry.quota.periods import calendar_of

# In virtual time nobody goes away.
_TERMS = Terms(hold_us=2**50, remember_us=1, outbox_most=2)
_ANYTHING = About("", "", "")


@dataclass(slots=True)
class Gate:
    """The books of a simulation."""

    books: Holds = field(default_factory=lambda: Holds(_TERMS))

    def admit(self, now_us: int, ticket: str, owner: Tenant, limits: Limits, tokens: tuple[int, int]) -> str:
        """Hold what the request reads and writes: "" when it is admitted, else the limit that refuses it for longest."""
        own = subjects(owner, limits, NO_RULES, NO_RULES, _ANYTHING)
        calendar = calendar_of("UTC", now_us)
        ask = Ask(owner, ticket, ticket, "", "", "", "", *tokens)
        answer = self.books.reserve(now_us, ticket, "", ask, Demand(own, calendar, calendar))
        return max(answer.limits, key=_wait).measure if isinstance(answer, Refused) else ""

    def end(self, now_us: int, ticket: str, tokens: tuple[int, int] | None) -> None:
        """The request was answered, or, without tokens, was not."""
        if tokens is None:
            self.books.release(now_us, ticket)
            return
        self.books.commit(now_us, ticket, "", Amounts(1, sum(tokens), *tokens), None)
        self.books.outbox.clear()


def _wait(full: Full) -> float:
    return float("inf") if full.wait_us == NEVER else full.wait_us
