"""How a noun says what its transaction changes, for the change log: a record's kind, and its key or "" for all of the kind;
and who is revoked by it."""

from collections.abc import Callable

from tenantry.tenancy.records import Revocation

Note = Callable[[str, str], None]
Revoke = Callable[[Revocation], None]
