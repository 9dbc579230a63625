"""Who a credential proves its bearer to be: a key's own, or a person whom an issuer vouches for."""

from dataclasses import dataclass

from tenantry.kit import owner
from tenantry.tenancy.records import ApiKey


@dataclass(frozen=True, slots=True)
class Holder:
    """`id` is the key's or the issuer's, which `generation` is of; `ends_ns` is when the credential ends, or ended."""

    id: str
    principal: str
    tenant: str
    organisation: str
    scopes: tuple[str, ...]
    models: tuple[str, ...]
    collections: tuple[str, ...]
    networks: tuple[str, ...]
    generation: int
    ends_ns: int | None

    @property
    def owner(self) -> owner.Tenant | owner.Organisation | owner.Platform:
        """Whose caller it is."""
        return owner.owner_by(self.organisation, self.tenant)


def holder_of(key: ApiKey) -> Holder:
    """The holder of an API key."""
    return Holder(
        id=key.id,
        principal=key.id,
        tenant=key.tenant,
        organisation=key.organisation,
        scopes=key.scopes,
        models=key.models,
        collections=key.collections,
        networks=key.networks,
        generation=key.generation,
        ends_ns=key.expires_ns if key.revoked_ns is None else key.revoked_ns,
    )
