"""Every key that quota stores in the books, and every field and member that names somebody.

Organisations are spread over 256 buckets by a hash of their id; the bucket is the keys' hash tag, so that one script
can touch the counters of an organisation and its tenants and the bucket's outbox. A bucket's state is a fixed set of
keys, whatever number of tenants, so that a script can name all it touches. A tenant never changes its organisation, so
neither its bucket.
"""

import hashlib
from functools import lru_cache

from tenantry.kit.keys import redis_key
from tenantry.kit.owner import Organisation, Owner, Platform, Pool, Tenant

BUCKETS = 256
# The second form of what is counted; entries of the outbox are read by every version.
_KINDS = ("counters2", "holds2", "nonces2", "ends2", "outbox", "ended", "outputs", "crowds")
_QUEUE_KINDS = ("state", "orgs", "tenants", "waiting", "tickets", "accounts", "ends", "owing", "backlogs", "news")


@lru_cache(maxsize=16_384)
def bucket_of(organisation: str) -> int:
    """The organisation's bucket, the same in every version."""
    return hashlib.sha256(organisation.encode()).digest()[0]


def slot_of(bucket: int) -> str:
    """The hash tag of a bucket's keys."""
    return f"quota-{bucket:03}"


@lru_cache(maxsize=BUCKETS)
def bucket_keys(bucket: int) -> tuple[str, ...]:
    """A bucket's state, in the order of the scripts' KEYS: counters, holds, nonces, ends, outbox, ended, outputs, crowds."""
    return tuple(redis_key(slot_of(bucket), kind, Platform()) for kind in _KINDS)


def outbox_key(bucket: int) -> str:
    """The settled usage that the ledger has not acknowledged."""
    return bucket_keys(bucket)[4]


def ends_key(bucket: int) -> str:
    """When to look at which hold, nonce, memory or counters."""
    return bucket_keys(bucket)[3]


def counters_field(owner: Tenant, key_id: str = "", end_user: str = "", model: str = "") -> str:
    """Whose counters: an organisation's (without a tenant) or a tenant's, and of what of it. Everything a tenant's begins with
    the tenant's own, and with no other's."""
    whose = f"t{len(owner.id)}:{owner.id}" if owner.id else f"o{len(owner.organisation)}:{owner.organisation}"
    return whose + "".join(
        f"{letter}{len(part)}:{part}" for letter, part in (("k", key_id), ("u", end_user), ("m", model)) if part
    )


def others_field(owner: Tenant, key_id: str = "", model: str = "") -> str:
    """The counters that the end users share who found no room for their own: no length, so that it is nobody's name."""
    return f"{counters_field(owner)}*{counters_field(owner, key_id, '', model)}"


def outputs_field(owner: Tenant, model: str) -> str:
    """How long a tenant's answers of a model are."""
    return counters_field(owner, model=model)


def nonce_field(owner: Tenant, nonce: str) -> str:
    """A nonce is its tenant's: another tenant's equal nonce is another one."""
    return f"{counters_field(owner)}{len(nonce)}:{nonce}"


def calls_key(owner: Owner) -> str:
    """How many calls of the owner's entered lately. It ends by itself."""
    match owner:
        case Tenant(organisation, _) | Organisation(organisation):
            slot = slot_of(bucket_of(organisation))
        case _:
            slot = "quota"
    return redis_key(slot, "calls", owner)


@lru_cache(maxsize=1)
def refusals_keys() -> tuple[str, ...]:
    """Who was refused how often: a ring of ten seconds each, of which six count. They end by themselves."""
    return tuple(redis_key("quota", "refusals", Platform(), str(place)) for place in range(7))


def schema_key() -> str:
    """The books' version and number of buckets."""
    return redis_key("quota", "schema", Platform())


def probe_key() -> str:
    """What is written to see whether the books take writes."""
    return redis_key("quota", "probe", Platform())


def hints_key() -> str:
    """Which buckets' outboxes grew lately."""
    return redis_key("quota", "hints", Platform())


@lru_cache(maxsize=1_024)
def queue_keys(owner: Pool) -> tuple[str, ...]:
    """A pool's queue, in the order of the scripts' KEYS. The slot is a hash of the name, which may hold anything."""
    slot = f"queue-{hashlib.sha256(owner.name.encode()).hexdigest()[:16]}"
    return tuple(redis_key(slot, kind, owner) for kind in _QUEUE_KINDS)


def queue_ends_key(owner: Pool) -> str:
    """When to look at which lease, waiting call or idle tenant of a pool."""
    return queue_keys(owner)[6]


def queue_news_key(owner: Pool) -> str:
    """Which waiting calls of a pool were granted or dropped lately."""
    return queue_keys(owner)[9]


def pools_key() -> str:
    """Which pools have a queue."""
    return redis_key("quota", "pools", Platform())
