"""Holds of a replica alone, while the shared books are away.

Each replica gives its share of every limit, 1/replicas of rate, burst and concurrent requests, by the books' own rules
(`holds.py`); at most replicas times that is admitted, however the outage began. Calendar budgets are closed: what is left of a
month only the shared books know. Such a hold's reservation begins with `loc_`. What is settled meanwhile, also of holds that
the shared books gave, is kept in SQL and entered when they are back; the ledger knows a reservation that it has already.
"""

import logging
from dataclasses import replace
from functools import partial

from tenantry.kit.clock import Clock
from tenantry.kit.errors import TenantryError
from tenantry.kit.owner import Platform, Tenant
from tenantry.quota import keys
from tenantry.quota.entries import (
    Amounts,
    Ask,
    Demand,
    Held,
    Limits,
    OutboxFull,
    Refused,
    Renewed,
    Settled,
    Subject,
    Used,
    estimate_of,
)
from tenantry.quota.holds import Holds, Terms
from tenantry.quota.presence import BooksAway, Presence, closed
from tenantry.quota.store import Books, LateSettlements

log = logging.getLogger(__name__)

LOCAL = "loc_"
ENTER_EVERY_S = 1.0
# A gateway gives up settling after two minutes; until then a true figure may come in place of an estimate.
ESTIMATES_WAIT_S = 130.0
# Settlements that this replica has put aside. Beyond, nothing new is admitted.
MOST_LATE = 100_000
_PAGE = 200


def share_of(demand: Demand, replicas: int) -> Demand | None:
    """What applies to a request at one of so many replicas; None when a calendar budget does."""
    if any(any(subject.limits.budgets) for subject in demand.subjects):
        return None
    return replace(demand, subjects=tuple(_share(subject, replicas) for subject in demand.subjects))


def _share(subject: Subject, replicas: int) -> Subject:
    """At least one of each, since 0 would say that nothing is limited."""
    limits = subject.limits
    names = (name for name in Limits.__slots__ if getattr(limits, name))
    return replace(subject, limits=Limits(**{name: max(1, getattr(limits, name) // replicas) for name in names}))


class Standby:
    """Books that go on without `books` while they are away; `late` is where settlements wait."""

    def __init__(self, books: Books, late: LateSettlements, presence: Presence, clock: Clock, terms: Terms) -> None:
        self._books = books
        self._late = late
        self._presence = presence
        self._clock = clock
        # Kept from one outage to the next: books that come and go don't fill the buckets.
        self._alone = Holds(terms)
        self._put_aside = 0

    async def reserve(self, owner: Tenant, ask: Ask, demand: Demand) -> Held | Refused | OutboxFull:
        try:
            return await self._presence.ask(lambda: self._books.reserve(owner, ask, demand))
        except BooksAway:
            return self._reserve_alone(owner, ask, demand)

    async def renew(
        self, owner: Tenant, reservation: str, output_tokens: int, demand: Demand | None
    ) -> Renewed | Refused | None:
        if not reservation.startswith(LOCAL):
            return await self._presence.ask(lambda: self._books.renew(owner, reservation, output_tokens, demand))
        shared = demand and share_of(demand, self._presence.terms.replicas)
        renewed = self._alone.renew(self._now_us(), reservation, output_tokens, shared)
        return replace(renewed, under=shared) if isinstance(renewed, Refused) else renewed

    async def commit(self, owner: Tenant, model: str, settled: Settled) -> bool:
        if settled.reservation.startswith(LOCAL):
            self._settle_alone(settled)
        try:
            return await self._presence.ask(lambda: self._books.commit(owner, model, settled))
        except BooksAway:
            return await self._put_aside_one(settled)

    async def release(self, owner: Tenant, reservation: str) -> bool:
        if reservation.startswith(LOCAL):
            return self._alone.release(self._now_us(), reservation)
        return await self._presence.ask(lambda: self._books.release(owner, reservation))

    async def use(self, owner: Tenant, demand: Demand) -> tuple[tuple[Used, ...], ...]:
        return await self._presence.ask(lambda: self._books.use(owner, demand))

    async def forget(self, owner: Tenant) -> int:
        self._alone.forget(self._now_us(), keys.counters_field(owner))
        return await self._presence.ask(lambda: self._books.forget(owner))

    async def sweep(self, owner: Platform) -> int:
        self._alone.sweep(self._now_us(), _PAGE)
        await self._put_estimates_aside()
        return 0 if self._presence.away else await self._presence.ask(lambda: self._books.sweep(owner))

    async def enter(self) -> None:
        """Enter, for ever, what was put aside by any replica into the books while they are there."""
        while True:
            await self._clock.sleep(ENTER_EVERY_S)
            try:
                while not self._presence.away and await self._enter_page():
                    pass
            except TenantryError as error:
                log.warning("entering late settlements failed: %s", error.message)

    async def _enter_page(self) -> bool:
        """Whether there may be more. Two replicas may enter the same one; the books take it once."""
        platform = Platform()
        page = await self._late.page(platform, self._clock.now() - ESTIMATES_WAIT_S, _PAGE)
        for settled in page:
            await self._presence.ask(partial(self._books.commit, settled.owner, "", settled))
        await self._late.drop(platform, page)
        self._put_aside = max(0, self._put_aside - len(page))
        return len(page) == _PAGE

    def _reserve_alone(self, owner: Tenant, ask: Ask, demand: Demand) -> Held | Refused | OutboxFull:
        self._presence.check_time()
        shared = share_of(demand, self._presence.terms.replicas)
        if shared is None:
            raise closed("the books are away, and what is left of a day's or month's budget is not known without them")
        if self._put_aside >= MOST_LATE:
            return OutboxFull()
        local = replace(ask, reservation=LOCAL + ask.reservation.partition("_")[2])
        names = (keys.nonce_field(owner, ask.nonce), keys.outputs_field(owner, ask.model))
        held = self._alone.reserve(self._now_us(), *names, local, shared)
        return replace(held, under=shared) if isinstance(held, Refused) else held

    def _settle_alone(self, settled: Settled) -> None:
        """Free what it held here, if this replica gave it."""
        if settled.reservation in self._alone.holds:
            usage = settled.usage
            tokens = (usage.input_tokens + usage.output_tokens, usage.input_tokens, usage.output_tokens)
            self._alone.commit(self._now_us(), settled.reservation, "", Amounts(1, *tokens, usage.cost_micros), settled)
            self._alone.outbox.pop()  # what is settled goes its own way

    async def _put_estimates_aside(self) -> None:
        """Holds whose owner went away. Each stays where it is until SQL has it."""
        while self._alone.outbox:
            one = self._alone.outbox[0]
            assert isinstance(one.entry, Ask), "settlements are taken out as they come"
            await self._put_aside_one(
                estimate_of(one.entry, one.at_us, one.reserved_us, one.output_tokens, one.cost_micros)
            )
            del self._alone.outbox[0]

    async def _put_aside_one(self, settled: Settled) -> bool:
        new = await self._late.put(settled.owner, settled)
        self._put_aside += new
        return new

    def _now_us(self) -> int:
        return self._clock.now_ns() // 1000
