"""Every key that cache stores in Redis. The slot is the tenant's, so that one script can touch all that a call is about."""

from functools import lru_cache

from tenantry.kit.keys import redis_key
from tenantry.kit.owner import Tenant


def scope_keys(owner: Tenant, scope: str) -> tuple[str, str, str, str, str]:
    """What a call about one scope touches, in the order of the scripts' KEYS: entry, flight, places, generation, stats."""
    slot = _slot(owner)
    entry, flight, places = (redis_key(slot, kind, owner, scope) for kind in ("entry", "flight", "places"))
    return entry, flight, places, *tenant_keys(owner)


@lru_cache(maxsize=16_384)
def tenant_keys(owner: Tenant) -> tuple[str, str]:
    """The generation that the tenant's entries must be of, and its counters."""
    return redis_key(_slot(owner), "generation", owner), redis_key(_slot(owner), "stats", owner)


def _slot(owner: Tenant) -> str:
    return f"cache-{owner.id}"
