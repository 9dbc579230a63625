"""Whether the key or issuer behind a caller's assertion is still valid: asked in every transaction that changes something,
since an assertion may be two minutes old."""

from tenantry.kit.caller import Caller
from tenantry.kit.revocations import invalid_key
from tenantry.tenancy.issuer_url import is_issuer_id
from tenantry.tenancy.records import ApiKey
from tenantry.tenancy.rights import Bounds
from tenantry.tenancy.store import PLATFORM, Transaction


async def check_still_valid(tx: Transaction, caller: Caller, now_ns: int) -> Bounds:
    """What binds the caller beside his assertion; nothing, if he came without a key."""
    if is_issuer_id(caller.key_id):
        issuer = await tx.issuers.find(PLATFORM, caller.key_id)
        # Another tenant may have the issuer by now, with a generation above.
        if issuer is None or issuer.removed_ns is not None or issuer.generation != caller.key_generation:
            raise invalid_key()
        return Bounds(networks=issuer.networks)
    key = await tx.keys.find(PLATFORM, caller.key_id) if caller.key_id else None
    if key is None:
        return Bounds()
    if not is_valid(key, now_ns) or caller.key_generation < key.generation:
        raise invalid_key()
    return Bounds(key.expires_ns, key.networks)


def is_valid(key: ApiKey, now_ns: int) -> bool:
    """Whether the key is neither revoked nor at its end."""
    return key.revoked_ns is None and (key.expires_ns is None or key.expires_ns > now_ns)
