"""What quota needs of its stores. All raise StoreUnavailable (transient) or StoreFailed, and no driver's errors."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from tenantry.kit.owner import Organisation, Owner, Platform, Tenant
from tenantry.quota.entries import (
    Ask,
    Batch,
    CallLimit,
    Counted,
    Cursor,
    Demand,
    Held,
    OutboxFull,
    Refused,
    Renewed,
    Rule,
    Rules,
    Settled,
    TenantLimits,
    TenantSettings,
    Used,
)

# The most that a batch of the outbox holds; behind one that is full there may be more.
ENTRIES_A_BATCH = 200


class Books(Protocol):
    """Counters and holds. Each method is one step that happens whole or not at all; `holds.py` says what it does."""

    async def reserve(self, owner: Tenant, ask: Ask, demand: Demand) -> Held | Refused | OutboxFull:
        """Check and take all limits, all or none; the same nonce gets the same hold."""
        ...

    async def renew(
        self, owner: Tenant, reservation: str, output_tokens: int, demand: Demand | None
    ) -> Renewed | Refused | None:
        """Move the hold's end, and hold more if so much output wants it; None when there is no such hold."""
        ...

    async def commit(self, owner: Tenant, model: str, settled: Settled) -> bool:
        """Settle and append to the outbox; False if it was settled before. `model` learns how long its answers are; "" when
        this one doesn't say."""
        ...

    async def release(self, owner: Tenant, reservation: str) -> bool:
        """Give a hold back; False if there is no such hold."""
        ...

    async def use(self, owner: Tenant, demand: Demand) -> tuple[tuple[Used, ...], ...]:
        """What the limits of each subject have given."""
        ...

    async def forget(self, owner: Tenant) -> int:
        """Forget the tenant's counters and let its holds lapse; how many there were."""
        ...

    async def sweep(self, owner: Platform) -> int:
        """Look at all that has ended in every bucket; how much that was."""
        ...


class LateSettlements(Protocol):
    """Settlements that wait until the books are back, in SQL."""

    async def put(self, owner: Tenant, settled: Settled) -> bool:
        """Keep it; False if one of its reservation is kept already. A true one replaces an estimate."""
        ...

    async def page(self, owner: Platform, estimates_before: float, size: int) -> Sequence[Settled]:
        """Some of them; of the estimates those that were put before this time (Unix seconds)."""
        ...

    async def drop(self, owner: Platform, settled: Sequence[Settled]) -> None:
        """Forget these; a true one that replaced an estimate meanwhile stays."""
        ...


class CallCounters(Protocol):
    """How many calls entered, in counters that nothing else counts in."""

    async def count(self, owner: Owner, calls: int, limit: CallLimit, ahead: int = 0) -> Counted:
        """Count the calls, all or none; and, of `ahead` more, those that take no more than half of the room that is left."""
        ...


class Refusals(Protocol):
    """Who was refused how often within the last 50 to 60 s."""

    async def add(self, owner: Platform, refused: Mapping[str, int]) -> None:
        """Count so many refusals of each of these tenants now."""
        ...

    async def of(self, owner: Tenant) -> int:
        """How often the tenant was refused."""
        ...

    async def most(self, owner: Platform, most: int) -> Sequence[tuple[str, int]]:
        """The most often refused of those who were among the first `most` in any ten seconds of these."""
        ...


class Outbox(Protocol):
    """Settled usage that the ledger has not acknowledged."""

    async def read(self, owner: Platform, after: Sequence[Cursor]) -> Sequence[Batch]:
        """A batch of each bucket that has entries after its cursor; all its entries are, if the cursor is of another epoch."""
        ...

    async def acknowledge(self, owner: Platform, cursors: Sequence[Cursor]) -> None:
        """Delete each bucket's entries up to its cursor, none if that is of another epoch."""
        ...

    async def announce(self, owner: Platform) -> None:
        """Tell all replicas which buckets have grown by this one's doing since the last time."""
        ...

    async def grown(self, owner: Platform, since: int) -> tuple[Sequence[int], int]:
        """Buckets that any replica announced at or after `since`, and what to give as `since` next time."""
        ...


class Tenants(Protocol):
    """The tenants that quota was told to serve, with their own limits."""

    async def find(self, tenant_id: str) -> TenantLimits | None:
        """The tenant, or None when quota was not told to serve it."""
        ...

    async def add(self, owner: Tenant, tier: str) -> bool:
        """Begin to serve it; False if it was served already."""
        ...

    async def remove(self, owner: Tenant) -> bool:
        """Serve it no more; False if it was not served."""
        ...

    async def override(self, owner: Tenant, settings: TenantSettings, version: int) -> int:
        """Replace its own settings if they are at `version`; their version now."""
        ...


class LimitRules(Protocol):
    """Rules of limits. Their owner is a tenant, or without an id its organisation. Writes name the version that was read."""

    async def of_organisation(self, organisation: str) -> Rules:
        """All rules of the organisation itself."""
        ...

    async def serves(self, owner: Organisation) -> bool:
        """Whether quota serves any tenant of the organisation."""
        ...

    async def page(self, owner: Tenant, after: tuple[str, str, str] | None, size: int) -> Sequence[Rule]:
        """Rules in the order of key, end user and model, after these."""
        ...

    async def put(self, rule: Rule, version: int) -> Rule:
        """Replace the rule about the same; the rule as it is now."""
        ...

    async def remove(self, rule: Rule, version: int) -> None:
        """Delete the rule about the same."""
        ...
