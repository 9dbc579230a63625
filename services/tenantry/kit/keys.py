"""How a Redis key is spelled: `{slot}:kind:` and then the owner and the parts, each with its length before it.

The braces are the cluster's hash tag: keys with the same slot live on the same node, which is what lets one Lua call touch
them all. Lengths make the spelling injective: no choice of ids can make two different lists of parts the same key.
"""

import re

from tenantry.kit.owner import Organisation, Owner, Platform, Pool, Tenant

_WORD = re.compile(r"[A-Za-z0-9_.-]+")


def redis_key(slot: str, kind: str, owner: Owner, *parts: str) -> str:
    """The key of `kind` that belongs to `owner`. Slot and kind are words of our own, never a caller's text."""
    if _WORD.fullmatch(slot) is None or _WORD.fullmatch(kind) is None:
        raise ValueError(f"slot and kind are words of letters, digits, _ . and -, not {slot!r} and {kind!r}")
    return f"{{{slot}}}:{kind}:{''.join(_counted(part) for part in (*_owner_parts(owner), *parts))}"


def _owner_parts(owner: Owner) -> tuple[str, ...]:
    # The letter before the names keeps a tenant apart from an organisation or a pool of the same name.
    match owner:
        case Tenant(_, id):  # unique without its organisation, which not every caller of a store knows
            return ("t", id)
        case Organisation(id):
            return ("o", id)
        case Pool(name):
            return ("p", name)
        case Platform():
            return ("m",)


def _counted(part: str) -> str:
    return f"{len(part)}:{part}"
