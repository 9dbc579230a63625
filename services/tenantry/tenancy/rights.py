"""What a key's maker may give away: never more than he has. Pure functions of values."""

from dataclasses import dataclass

from tenantry.kit.caller import Caller
from tenantry.kit.errors import PermissionDenied, Reason
from tenantry.tenancy.networks import within


@dataclass(frozen=True, slots=True)
class Grant:
    """What a new key may do. Empty models, collections or networks: not restricted. Without `expires_ns` it does not
    end."""

    scopes: frozenset[str]
    models: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    expires_ns: int | None = None
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What binds the maker beside what his assertion says: his key's own end and networks."""

    expires_ns: int | None = None
    networks: tuple[str, ...] = ()


def check_grant(maker: Caller, bounds: Bounds, grant: Grant) -> None:
    """Refuses a grant that goes beyond its maker in scope, model, collection, network or time."""
    for scope in sorted(grant.scopes - maker.scopes):
        raise PermissionDenied(
            Reason.SCOPE_MISSING, f"the caller lacks the scope {scope}, so it can't give it", scope=scope
        )
    model = _beyond(maker.models, grant.models)
    if model is not None:
        raise PermissionDenied(Reason.MODEL_DENIED, "the caller is restricted to other models", model=model)
    collection = _beyond(maker.collections, grant.collections)
    if collection is not None:
        raise PermissionDenied(
            Reason.COLLECTION_DENIED, "the caller is restricted to other collections", collection=collection
        )
    if not _covers(bounds.networks, grant.networks):
        raise PermissionDenied(Reason.NETWORK_DENIED, "the caller is restricted to other networks")
    if bounds.expires_ns is not None and (grant.expires_ns is None or grant.expires_ns > bounds.expires_ns):
        raise PermissionDenied(Reason.CALLER_NOT_ALLOWED, "a key can't outlive the key that makes it")


def _covers(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """Whether all that is allowed by `narrow` is by `wide`; empty allows every network."""
    return not wide or (bool(narrow) and all(within(network, wide) for network in narrow))


def _beyond(mine: tuple[str, ...], given: tuple[str, ...]) -> str | None:
    """Something given that isn't mine; "" if what is given is not restricted and I am."""
    if not mine:
        return None
    if not given:
        return ""
    return next((name for name in given if name not in mine), None)


def takes_away(before: Grant, after: Grant) -> bool:
    """Whether a key that had `before` and gets `after` may do less, so that assertions about it must not be believed."""
    return bool(
        before.scopes - after.scopes
        or _beyond(after.models, before.models) is not None
        or _beyond(after.collections, before.collections) is not None
        or (after.expires_ns is not None and (before.expires_ns is None or before.expires_ns > after.expires_ns))
        or not _covers(after.networks, before.networks)
    )
