"""Makes what the mesh needs before its first start; doing so again changes nothing but the service tokens, which are
new.

secret file -> tables -> first signing key -> a token for each service and the edge -> the first operator's key
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tenantry.kit import key_file
from tenantry.kit.access import EDGE
from tenantry.kit.clock import Clock, SystemClock
from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.private_file import write_private
from tenantry.kit.settings import SERVICES
from tenantry.kit.sql import Database, migrate
from tenantry.tenancy.api_keys import new_key
from tenantry.tenancy.records import AuditEntry
from tenantry.tenancy.rights import Grant
from tenantry.tenancy.roles import OPERATOR, ROLES
from tenantry.tenancy.secret import Secret
from tenantry.tenancy.settings import Settings
from tenantry.tenancy.signing import Signer, new_signing_key
from tenantry.tenancy.store import PLATFORM, Store
from tenantry.tenancy.store_sql import MIGRATIONS, SqlStore

PRINCIPAL = "service:tenancy"


@dataclass(frozen=True, slots=True)
class Initialised:
    """What was made. `operator_secret` is the first operator's key when it was made now, and is shown this once."""

    operator_secret: str | None
    tokens: tuple[Path, ...]


async def initialise(settings: Settings, services: Sequence[str] = (*SERVICES, EDGE)) -> Initialised:
    """All of it, in order."""
    clock = SystemClock()
    async with opened(settings, clock) as (_, store, secret):
        signer = Signer(store, secret, clock)
        tokens: list[Path] = []
        for service in services:
            token, _ends = await signer.sign_service(service)
            path = settings.tokens / f"{service}.token"
            write_private(path, token.encode(), replace=True)
            tokens.append(path)
        operator_secret = await _first_operator(store, secret, settings.operator_key, clock)
    return Initialised(operator_secret, tuple(tokens))


@asynccontextmanager
async def opened(settings: Settings, clock: Clock) -> AsyncGenerator[tuple[Database, SqlStore, Secret]]:
    """The tables at this program's revision, and the secret that fits them, both made if there is none."""
    database = Database(settings.sql_url, "tenancy")
    try:
        await migrate(database, MIGRATIONS)
        store = SqlStore(database)
        secret = await _fitting_secret(store, settings.secret, clock)
        yield database, store, secret
    finally:
        await database.close()


async def _fitting_secret(store: Store, path: Path, clock: Clock) -> Secret:
    """The secret; FailedPrecondition for tables that were made with another one."""
    raw = key_file.read(path)
    if raw is None:
        async with store.read() as tx:
            if await tx.signing_keys.list(PLATFORM, 0):
                raise FailedPrecondition(
                    Reason.STORE_UNFIT,
                    f"the secret file {path} is missing, and tenancy's tables hang on it: put it back",
                )
        raw = key_file.read_or_make(path)
    secret = Secret(raw)
    async with store.write() as tx:
        await tx.alone()
        known = await tx.signing_keys.list(PLATFORM, 0)
        if known:
            secret.unseal(known[0].sealed, known[0].id)
        else:
            await tx.signing_keys.insert(PLATFORM, new_signing_key(secret, clock.now_ns()))
    return secret


async def _first_operator(store: Store, secret: Secret, path: Path, clock: Clock) -> str | None:
    """The first operator's key, unless there is an operator's key."""
    now_ns = clock.now_ns()
    async with store.write() as tx:
        await tx.alone()
        if await tx.keys.count(PLATFORM, now_ns):
            return None
        key, operator_secret = new_key(PLATFORM, "first operator", Grant(ROLES[OPERATOR]), secret.pepper, now_ns)
        # The file first: a key that was committed and then not written down could never be used.
        write_private(path, operator_secret.encode(), replace=True)
        await tx.keys.insert(PLATFORM, key)
        await tx.audit.append(PLATFORM, AuditEntry(now_ns, PRINCIPAL, "CreateApiKey", key.id))
    return operator_secret
