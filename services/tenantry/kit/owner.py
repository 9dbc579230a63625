"""Whose a stored thing is. A store method's first parameter is an owner, so that one without can't be written."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant, by an id that is unique on the platform, and the organisation it never leaves ("" where nobody asks)."""

    organisation: str
    id: str


@dataclass(frozen=True, slots=True)
class Organisation:
    """A customer with one or more tenants."""

    id: str


@dataclass(frozen=True, slots=True)
class Pool:
    """A provider's capacity that tenants share."""

    name: str


@dataclass(frozen=True, slots=True)
class Platform:
    """The mesh itself."""


Owner = Tenant | Organisation | Pool | Platform


def owner_by(organisation: str, tenant: str) -> Tenant | Organisation | Platform:
    """Whose it is that bears these ids: a tenant's; without one an organisation's; without both the platform's."""
    if tenant:
        return Tenant(organisation, tenant)
    return Organisation(organisation) if organisation else Platform()
