"""Whether the key behind a caller's assertion is still valid: asked in every transaction that changes something, since
an assertion may be two minutes old."""

from tenantry.kit.caller import Caller
from tenantry.kit.revocations import invalid_key
from tenantry.tenancy.records import ApiKey
from tenantry.tenancy.store import PLATFORM, Transaction


async def check_still_valid(tx: Transaction, caller: Caller, now_ns: int) -> ApiKey | None:
    """The caller's key, of which nothing was taken away since; None for a caller that came without one."""
    key = await tx.keys.find(PLATFORM, caller.key_id) if caller.key_id else None
    if key is not None and (not is_valid(key, now_ns) or caller.key_generation < key.generation):
        raise invalid_key()
    return key


def is_valid(key: ApiKey, now_ns: int) -> bool:
    """Whether the key is neither revoked nor at its end."""
    return key.revoked_ns is None and (key.expires_ns is None or key.expires_ns > now_ns)
