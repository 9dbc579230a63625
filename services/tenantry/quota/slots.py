"""Places in pools for calls: begin, go on with a lease, leave; and the sweep of pools that no replica looks at."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tenantry.kit.clock import Clock
from tenantry.kit.errors import InvalidArgument, TenantryError
from tenantry.kit.ids import new_id
from tenantry.kit.owner import Platform, Pool, Tenant
from tenantry.quota import leases
from tenantry.quota.entries import TenantLimits
from tenantry.quota.gcra import MOST_AMOUNT
from tenantry.quota.leases import Lease
from tenantry.quota.pools import check_name
from tenantry.quota.reservations import not_provisioned
from tenantry.quota.slot import MOST_PRIORITY, Call, Granted, PoolSettings, QueueTerms
from tenantry.quota.slot_room import Slot, SlotRoom
from tenantry.quota.store_queue import Queues
from tenantry.quota.tiers import limits_of
from tenantry.quota.weights import LEAST, weight_of

log = logging.getLogger(__name__)

SWEEP_EVERY_S = 1.0
LONGEST_WAIT_S = 600.0
_SWEPT_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks for. `within_s` is the longest wait of use."""

    pool: str
    input_tokens: int
    max_output_tokens: int
    priority: int
    within_s: float


class Slots:
    """`find` gives a tenant's limits and `settings` a pool's, from memory; `secret` signs leases; `refused` hears which tenants
    are."""

    def __init__(
        self,
        queues: Queues,
        find: Callable[[str], Awaitable[TenantLimits | None]],
        settings: Callable[[Pool], Awaitable[PoolSettings]],
        clock: Clock,
        secret: bytes,
        terms: QueueTerms,
        refused: Callable[[str], None],
    ) -> None:
        self._queues = queues
        self._find = find
        self._settings = settings
        self._clock = clock
        self._secret = secret
        self._terms = terms
        self._refused = refused
        self._rooms: dict[Pool, SlotRoom] = {}

    @property
    def lease_us(self) -> int:
        """How long a lease lasts without renewal."""
        return self._terms.lease_us

    async def begin(self, owner: Tenant, wanted: Wanted) -> Slot:
        """Take a place in the pool; the slot says how it goes on."""
        _check(wanted)
        found = await self._find(owner.id)
        if found is None or found.organisation != owner.organisation:
            raise not_provisioned()
        within_s = min(wanted.within_s, LONGEST_WAIT_S)
        call = self._call(owner, found, new_id("slot"), wanted, max(1, int(within_s * 1_000_000)))
        slot = Slot(call, self._room(Pool(wanted.pool)))
        slot.timer = asyncio.get_running_loop().call_later(within_s, slot.room.late, slot)
        await slot.room.enter(slot)
        return slot

    async def go_on(self, owner: Tenant, reservation: str, lease: Lease, mac: bytes, output_tokens: int) -> Slot:
        """Take up a lease whose stream broke."""
        leases.check(lease, mac, reservation, owner.id, self._secret)
        check_output(output_tokens, "begin.output_tokens")
        # Whatever became of the tenant: its call runs.
        found = await self._find(owner.id)
        wanted = Wanted(lease.pool, lease.input_tokens, lease.max_output_tokens, lease.priority, 0.0)
        slot = Slot(self._call(owner, found, lease.ticket, wanted, 0), self._room(Pool(lease.pool)))
        slot.output_tokens = output_tokens
        await slot.room.enter(slot, Granted(lease.epoch, lease.ends_us))
        return slot

    def lease(self, owner: Tenant, reservation: str, slot: Slot, granted: Granted) -> tuple[Lease, bytes]:
        """The slot's lease as it is now, and its MAC."""
        call = slot.call
        lease = Lease(
            slot.room.pool.name,
            call.ticket,
            granted.epoch,
            granted.ends_us,
            call.input_tokens,
            call.max_output_tokens,
            call.priority,
        )
        return lease, leases.mac_of(lease, reservation, owner.id, self._secret)

    async def sweep(self) -> None:
        """End leases and places that nobody renews, for ever, in pools that no replica looks at too."""
        while True:
            await self._clock.sleep(SWEEP_EVERY_S)
            try:
                for pool in await self._queues.due(Platform()):
                    await self._sweep(pool)
            except TenantryError as error:
                log.warning("sweeping queues failed: %s", error.message)

    def abandon(self) -> None:
        """This replica goes: its streams are about to be cut, and leases stay for other replicas."""
        for room in self._rooms.values():
            room.abandon()

    async def close(self) -> None:
        """End the loops of all pools."""
        await asyncio.gather(*(room.close() for room in tuple(self._rooms.values())))

    async def _sweep(self, pool: Pool) -> None:
        while True:
            said = await self._queues.sweep(pool, _SWEPT_AT_ONCE, await self._settings(pool))
            room = self._rooms.get(pool)
            if room is not None:
                room.hear(said)
            if said.answer < _SWEPT_AT_ONCE:
                return

    def _room(self, pool: Pool) -> SlotRoom:
        room = self._rooms.get(pool)
        if room is None:
            room = SlotRoom(pool, self._queues, self._settings, self._clock, self._terms, self._closed, self._refused)
            self._rooms[pool] = room
        return room

    def _closed(self, pool: Pool) -> None:
        self._rooms.pop(pool, None)

    def _call(self, owner: Tenant, found: TenantLimits | None, ticket: str, wanted: Wanted, within_us: int) -> Call:
        weight, most_running = LEAST, 1
        if found is not None:
            weight = weight_of(found.tier, found.queue_weight)
            most_running = limits_of(found.tier, found.overrides).concurrent_requests
        sizes = (wanted.priority, wanted.input_tokens, wanted.max_output_tokens)
        return Call(ticket, owner.organisation, owner.id, weight, most_running, *sizes, within_us)


def check_output(output_tokens: int, field: str) -> None:
    """Refuse figures that no call can have."""
    if not 0 <= output_tokens <= MOST_AMOUNT:
        raise InvalidArgument(field, f"is not within 0 and {MOST_AMOUNT}")


def _check(wanted: Wanted) -> None:
    check_name(wanted.pool, "begin.pool")
    ranges = (
        ("input_tokens", wanted.input_tokens, MOST_AMOUNT),
        ("max_output_tokens", wanted.max_output_tokens, MOST_AMOUNT),
        ("priority", wanted.priority, MOST_PRIORITY),
    )
    wrong = [
        (f"begin.{field}", f"is not within 0 and {most}") for field, value, most in ranges if not 0 <= value <= most
    ]
    if wrong:
        raise InvalidArgument.many(wrong)
