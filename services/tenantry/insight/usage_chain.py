"""The hash chain of a tenant's usage entries: each batch of the outbox that is kept adds a link for each entry, and a digest.

An entry is never rewritten: a true settlement that replaces an estimate is an entry of its own, and the estimate stays in
the chain. Pure rules, which `tenantry audit verify --usage` follows again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from tenantry.insight.entries import Entry
from tenantry.kit import hash_chain
from tenantry.kit.owner import Tenant
from tenantry.kit.usage import Usage

# Fields that came later are hashed where they say something, so that older entries have the hashes they had.
_LATER = ("cached_input_tokens", "counts_estimated")
_USED = attrgetter(*(field.name for field in fields(Usage) if field.name not in _LATER))


@dataclass(frozen=True, slots=True)
class Link:
    """An entry at its place: its number in the tenant's chain, its batch and its hash."""

    number: int
    batch: int
    hash: bytes
    entry: Entry


@dataclass(frozen=True, slots=True)
class Digest:
    """A tenant's share of a batch: its number, the last entry's number, how many there are, and the last one's hash."""

    owner: Tenant
    batch: int
    last: int
    entries: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger has of a reservation."""

    owner: Tenant
    estimated: bool


def name_of(owner: Tenant) -> str:
    """The chain's name. Ids hold no slash, so no two tenants share one."""
    return f"usage:{owner.organisation}/{owner.id}"


def fields_of(name: str, number: int, batch: int, entry: Entry) -> tuple[str, ...]:
    """What is hashed of an entry: all that the contract shows of it."""
    about = (entry.reservation, entry.key_id, entry.end_user, str(entry.estimated), str(entry.settled_us))
    used = ("" if value is None else str(value) for value in _USED(entry.usage))
    later = (f"{field}={value}" for field in _LATER if (value := getattr(entry.usage, field)))
    return (name, str(number), str(batch), *about, *used, *later)


def news(entries: Sequence[Entry], known: Mapping[str, Known]) -> list[Entry]:
    """Those that are kept, in order: the first of a reservation, and the first true settlement after an estimate of the same
    tenant."""
    seen = dict(known)
    kept: list[Entry] = []
    for entry in entries:
        before = seen.get(entry.reservation)
        corrects = before is not None and before.estimated and not entry.estimated and before.owner == entry.owner
        if before is None or corrects:
            seen[entry.reservation] = Known(entry.owner, entry.estimated)
            kept.append(entry)
    return kept


def chained(entries: Sequence[Entry], heads: Mapping[Tenant, Digest]) -> tuple[list[Link], list[Digest]]:
    """The entries at their places after the heads of their tenants' chains, and the new heads."""
    links: list[Link] = []
    digests: list[Digest] = []
    by_owner: dict[Tenant, list[Entry]] = {}
    for entry in entries:
        by_owner.setdefault(entry.owner, []).append(entry)
    for owner, mine in by_owner.items():
        head = heads.get(owner) or Digest(owner, 0, 0, 0, hash_chain.START)
        name, batch, hash = name_of(owner), head.batch + 1, head.digest
        for number, entry in enumerate(mine, head.last + 1):
            hash = hash_chain.link(hash, fields_of(name, number, batch, entry))
            links.append(Link(number, batch, hash, entry))
        digests.append(Digest(owner, batch, head.last + len(mine), len(mine), hash))
    return links, digests
