"""Where tenancy keeps things: one small interface a noun, seen through one transaction.

A transaction ends with its block: committed, or rolled back if the block raises. All raise StoreUnavailable
(transient) or StoreFailed (not transient), and Conflict where an id is taken. A change of a tenant or a key enters
the change log by itself.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from tenantry.kit import owner
from tenantry.tenancy.paging import Page
from tenantry.tenancy.records import (
    ApiKey,
    AuditEntry,
    AuditEvent,
    AuditHead,
    Issuer,
    Operation,
    Organisation,
    Revocation,
    SigningKey,
    Step,
    Tenant,
    TenantState,
)

PLATFORM = owner.Platform()

# The kinds in the change log, each with the ids of its records as keys.
TENANT_CHANGES = "tenant"
KEY_CHANGES = "api-key"
ISSUER_CHANGES = "issuer"
SIGNING_CHANGES = "signing-key"
REVOCATION_CHANGES = "revocation"


class Organisations(Protocol):
    """Organisations."""

    async def insert(self, owner: owner.Organisation, organisation: Organisation) -> None: ...
    async def get(self, owner: owner.Organisation) -> Organisation | None: ...
    async def list(self, owner: owner.Platform | owner.Organisation, page: Page) -> tuple[Organisation, ...]:
        """One more than the page's size if there are more, by id: of all lists, the caller cuts it."""
        ...


class Tenants(Protocol):
    """Tenants. Deleted ones stay, so that an id is never given out again."""

    async def insert(self, owner: owner.Tenant, tenant: Tenant) -> None: ...
    async def get(self, owner: owner.Tenant) -> Tenant | None:
        """By its id alone: the organisation of the owner is not looked at."""
        ...

    async def lock(self, owner: owner.Tenant) -> Tenant | None:
        """As `get`, and no other transaction changes it until this one ends."""
        ...

    async def list(self, owner: owner.Owner, page: Page) -> tuple[Tenant, ...]:
        """Those of the owner, by id, without deleted ones."""
        ...

    async def set_state(self, owner: owner.Tenant, state: TenantState, operation: str) -> None:
        """Also raises version and generation; of a state that is not served, the generations before are revoked."""
        ...

    async def forget_name(self, owner: owner.Tenant) -> None:
        """Puts the id in the place of the display name."""
        ...


class Keys(Protocol):
    """API keys."""

    async def insert(self, owner: owner.Owner, key: ApiKey) -> None: ...
    async def find(self, owner: owner.Platform, key_id: str) -> ApiKey | None:
        """A key of anybody, by the id in a credential."""
        ...

    async def list(self, owner: owner.Owner, page: Page, ended_after_ns: int) -> tuple[ApiKey, ...]:
        """The owner's own, newest first, without those that were revoked or ended before that time."""
        ...

    async def count(self, owner: owner.Owner, now_ns: int, revoked_after_ns: int | None = None) -> int:
        """How many of the owner's are neither at their end nor revoked; those revoked after the given time count, too."""
        ...

    async def lock(self, owner: owner.Platform, key_id: str) -> ApiKey | None:
        """As `find`, and no other transaction changes it until this one ends."""
        ...

    async def change(self, owner: owner.Owner, key: ApiKey, *, revokes: bool) -> None:
        """Writes what the owner's key may do, and raises its version; if the change `revokes`, also its generation, of
        which those before are revoked."""
        ...

    async def replace(self, owner: owner.Owner, key_id: str, replaced_by: str, expires_ns: int) -> None:
        """Gives the owner's key its end and says which key is in its place. Its generation stays: until then its
        assertions are good."""
        ...

    async def used(self, owner: owner.Platform, uses: Sequence[tuple[str, int]]) -> None:
        """Writes down when keys were used, each with its id, unless a later time is known. No change for the log."""
        ...

    async def revoke(self, owner: owner.Owner, key_id: str, now_ns: int) -> None:
        """Revokes the owner's key unless it was before, with its generations until now."""
        ...

    async def revoke_all(self, owner: owner.Tenant, now_ns: int) -> int:
        """Revokes all keys of a tenant whose own generation is revoked in the same transaction."""
        ...

    async def sweep(self, owner: owner.Platform, ended_before_ns: int) -> int:
        """Deletes keys that were revoked or ended before that time."""
        ...


class Revocations(Protocol):
    """Who was revoked, one entry a key or tenant: the last. They are entered by what revokes, not here."""

    async def after(self, owner: owner.Platform, number: int, most: int) -> tuple[Revocation, ...]:
        """Up to `most` entries with higher numbers, in their order."""
        ...

    async def trim(self, owner: owner.Platform, before_ns: int) -> None:
        """Forgets the entries from before that time."""
        ...


class Issuers(Protocol):
    """OIDC issuers. Removed ones stay, for their generations."""

    async def register(self, owner: owner.Tenant, issuer: Issuer) -> Issuer:
        """The issuer with its generation, which is above that of whoever had the URL before. Conflict while somebody
        has it."""
        ...

    async def find(self, owner: owner.Platform, issuer_id: str) -> Issuer | None:
        """An issuer of anybody, removed ones too."""
        ...

    async def list(self, owner: owner.Tenant, page: Page) -> tuple[Issuer, ...]:
        """The owner's, by id, without removed ones."""
        ...

    async def count(self, owner: owner.Tenant, removed_after_ns: int) -> int:
        """How many the owner has; those removed after that time count, too."""
        ...

    async def remove(self, owner: owner.Tenant, issuer_id: str, now_ns: int) -> None:
        """Removes the owner's issuer unless it was before, with its generations until now."""
        ...

    async def remove_all(self, owner: owner.Tenant, now_ns: int) -> None:
        """Removes all issuers of a tenant whose own generation is revoked in the same transaction."""
        ...


class Operations(Protocol):
    """Operations, their steps, and who works on them."""

    async def insert(self, owner: owner.Tenant, operation: Operation) -> None: ...
    async def get(self, owner: owner.Platform, operation_id: str) -> Operation | None: ...
    async def waiting(self, owner: owner.Platform, now_ns: int, most: int) -> tuple[str, ...]:
        """Operations with something to do now: not ended, the oldest of their tenant, with a step due or none
        undone."""
        ...

    async def claim(self, owner: owner.Platform, operation_id: str, worker: str, seconds: float) -> bool:
        """Whether the worker has the operation to itself for that time."""
        ...

    async def renew(self, owner: owner.Platform, operation_id: str, worker: str, seconds: float) -> bool:
        """False if the claim ended or is another's: the worker must write nothing."""
        ...

    async def release(self, owner: owner.Platform, operation_id: str, worker: str) -> None: ...
    async def save_step(self, owner: owner.Tenant, operation_id: str, step: Step) -> None:
        """Also makes the operation RUNNING and raises its version."""
        ...

    async def end(self, owner: owner.Tenant, operation_id: str, now_ns: int) -> None: ...


class Audit(Protocol):
    """Audit logs: a tenant's, an organisation's, the platform's."""

    async def append(self, owner: owner.Owner, entry: AuditEntry) -> AuditEvent:
        """Gives the entry the next number of the owner's log. The log is locked until the transaction ends."""
        ...

    async def enter(self, owner: owner.Owner, entry: AuditEntry, record: str, now_ns: int) -> bool:
        """As `append`, once for each id of a record. Refusals only so many in a minute, the rest counted in one entry that
        the next minute's first refusal brings. False if nothing was entered."""
        ...

    async def head(self, owner: owner.Owner) -> AuditHead:
        """The end of the owner's log."""
        ...

    async def list(self, owner: owner.Owner, before: int | None, most: int) -> tuple[AuditEvent, ...]:
        """Up to `most` events, newest first, with numbers below `before`."""
        ...

    async def list_from(self, owner: owner.Owner, number: int, most: int) -> tuple[AuditEvent, ...]:
        """Up to `most` events, oldest first, from that number on."""
        ...


class SigningKeys(Protocol):
    """Key pairs that tokens are signed with."""

    async def end_others(self, owner: owner.Platform, key_id: str, not_after_ns: int) -> None:
        """Gives an end to every key but this one that has none."""
        ...

    async def insert(self, owner: owner.Platform, key: SigningKey) -> None: ...
    async def list(self, owner: owner.Platform, now_ns: int) -> tuple[SigningKey, ...]:
        """Those that have not ended, newest first."""
        ...


class Transaction(Protocol):
    """All of it, at one moment."""

    @property
    def organisations(self) -> Organisations: ...
    @property
    def tenants(self) -> Tenants: ...
    @property
    def keys(self) -> Keys: ...
    @property
    def revocations(self) -> Revocations: ...
    @property
    def operations(self) -> Operations: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def signing_keys(self) -> SigningKeys: ...
    @property
    def issuers(self) -> Issuers: ...

    async def alone(self) -> None:
        """No other transaction that asks for this goes past it until this one ends: for what must be made once."""
        ...


class Store(Protocol):
    """Opens transactions."""

    def read(self) -> AbstractAsyncContextManager[Transaction]:
        """One that only reads."""
        ...

    def write(self) -> AbstractAsyncContextManager[Transaction]:
        """One that is committed at the end of its block."""
        ...
