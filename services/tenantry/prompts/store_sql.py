"""Prompts in SQL. Each change is one transaction with its entry in the change log, so that replicas forget what changed."""

from typing import Any

from sqlalchemy import Column, Float, Integer, MetaData, RowMapping, Table, Text, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import audit_outbox, changes, tenants
from tenantry.kit.clock import Clock
from tenantry.kit.errors import Aborted, AlreadyExists, Conflict, NotFound, Reason, ResourceExhausted
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database
from tenantry.prompts.prompt import Prompt, Revision, Source, key_of

# The kind under which prompts stand in the change log; the key is `key_of`.
KIND = "prompt"
MAX_PROMPTS = 1_000
MAX_REVISIONS = 10_000

_metadata = MetaData()
_prompts = Table(
    "prompts",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("prompt", Text, primary_key=True),
    Column("production_revision", Integer),
    Column("latest_revision", Integer),
    Column("version", Integer),
    Column("updated_at", Float),
)
_revisions = Table(
    "revisions",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("prompt", Text, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("system", Text),
    Column("user", Text),
    Column("output_schema", Text),
    Column("max_output_tokens", Integer),
    Column("temperature", Float),
    Column("created_at", Float),
    Column("author", Text),
)


class SqlPromptStore:
    """A PromptStore on SQLite or PostgreSQL."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def find_tenant(self, tenant_id: str) -> Tenant | None:
        async with self._database.read() as connection:
            found = await tenants.find(connection, tenant_id)
        return None if found is None else found[0]

    async def add_tenant(self, tenant: Tenant, tier: str, prompt: str, source: Source) -> bool:
        async with self._database.write() as connection:
            if not await tenants.add(connection, tenant, tier):
                return False
            await self._insert(connection, tenant, prompt, source, "tenantry")
        return True

    async def remove_tenant(self, tenant: Tenant) -> int | None:
        async with self._database.write() as connection:
            gone = await connection.execute(delete(_prompts).where(_prompts.c.tenant == tenant.id))
            await connection.execute(delete(_revisions).where(_revisions.c.tenant == tenant.id))
            if not await tenants.remove(connection, tenant):
                return None
            await changes.record(connection, KIND)
        return gone.rowcount

    async def create(self, tenant: Tenant, prompt: str, source: Source, author: str) -> Prompt:
        try:
            async with self._database.write() as connection:
                await _require_tenant(connection, tenant)
                count = select(func.count()).select_from(_prompts).where(_prompts.c.tenant == tenant.id)
                if (await connection.execute(count)).scalar_one() >= MAX_PROMPTS:
                    raise _too_many("prompts", MAX_PROMPTS)
                await audit_outbox.append(connection, tenant, "CreatePrompt", prompt, clock=self._clock)
                return await self._insert(connection, tenant, prompt, source, author)
        except Conflict:
            message = f"the prompt {prompt} exists; update it, or choose another name"
            raise AlreadyExists(Reason.ALREADY_EXISTS, message, kind="prompt") from None

    async def revise(self, tenant: Tenant, prompt: str, source: Source, author: str, version: int) -> Prompt:
        try:
            async with self._database.write() as connection:
                revision = (await _current(connection, tenant, prompt, version)).latest_revision + 1
                if revision > MAX_REVISIONS:
                    raise _too_many("revisions", MAX_REVISIONS)
                await connection.execute(insert(_revisions).values(self._row(tenant, prompt, revision, source, author)))
                await audit_outbox.append(connection, tenant, "UpdatePrompt", prompt, clock=self._clock)
                return await self._change(
                    connection, tenant, prompt, version, production_revision=revision, latest_revision=revision
                )
        except Conflict:
            # PostgreSQL let another transaction add the same revision between our read and our write
            raise _changed_meanwhile() from None

    async def point(self, tenant: Tenant, prompt: str, revision: int, version: int) -> Prompt:
        async with self._database.write() as connection:
            await _current(connection, tenant, prompt, version)
            await _revision(connection, tenant, prompt, revision)
            await audit_outbox.append(connection, tenant, "RollbackPrompt", prompt, clock=self._clock)
            return await self._change(connection, tenant, prompt, version, production_revision=revision)

    async def delete(self, tenant: Tenant, prompt: str, version: int) -> None:
        async with self._database.write() as connection:
            await _current(connection, tenant, prompt, version)
            for table in (_prompts, _revisions):
                await connection.execute(delete(table).where(table.c.tenant == tenant.id, table.c.prompt == prompt))
            await audit_outbox.append(connection, tenant, "DeletePrompt", prompt, clock=self._clock)
            await changes.record(connection, KIND, key_of(tenant, prompt))

    async def get(self, tenant: Tenant, prompt: str, revision: int) -> tuple[Prompt, Revision]:
        async with self._database.read() as connection:
            await _require_tenant(connection, tenant)
            found = await _prompt(connection, tenant, prompt)
            return found, await _revision(connection, tenant, prompt, revision or found.production_revision)

    async def list_prompts(self, tenant: Tenant, after: str, most: int) -> list[Prompt]:
        query = select(_prompts).where(_prompts.c.tenant == tenant.id, _prompts.c.prompt > after)
        async with self._database.read() as connection:
            await _require_tenant(connection, tenant)
            rows = await connection.execute(query.order_by(_prompts.c.prompt).limit(most))
            return [_prompt_of(row) for row in rows.mappings()]

    async def list_revisions(self, tenant: Tenant, prompt: str, before: int, most: int) -> list[Revision]:
        mine = (_revisions.c.tenant == tenant.id) & (_revisions.c.prompt == prompt) & (_revisions.c.revision < before)
        async with self._database.read() as connection:
            await _require_tenant(connection, tenant)
            await _prompt(connection, tenant, prompt)
            query = select(_revisions).where(mine).order_by(_revisions.c.revision.desc()).limit(most)
            return [_revision_of(row) for row in (await connection.execute(query)).mappings()]

    async def _insert(
        self, connection: AsyncConnection, tenant: Tenant, prompt: str, source: Source, author: str
    ) -> Prompt:
        made = Prompt(prompt, 1, 1, 1, self._clock.now())
        row = {"tenant": tenant.id, "prompt": prompt, "production_revision": 1, "latest_revision": 1, "version": 1}
        await connection.execute(insert(_prompts).values(row | {"updated_at": made.updated_at}))
        await connection.execute(insert(_revisions).values(self._row(tenant, prompt, 1, source, author)))
        await changes.record(connection, KIND, key_of(tenant, prompt))
        return made

    async def _change(
        self, connection: AsyncConnection, tenant: Tenant, prompt: str, version: int, **values: int
    ) -> Prompt:
        mine = (_prompts.c.tenant == tenant.id) & (_prompts.c.prompt == prompt) & (_prompts.c.version == version)
        changed = update(_prompts).where(mine).values(version=version + 1, updated_at=self._clock.now(), **values)
        row = (await connection.execute(changed.returning(_prompts))).mappings().first()
        if row is None:
            raise _changed_meanwhile()
        await changes.record(connection, KIND, key_of(tenant, prompt))
        return _prompt_of(row)

    def _row(self, tenant: Tenant, prompt: str, revision: int, source: Source, author: str) -> dict[str, Any]:
        return {
            "tenant": tenant.id,
            "prompt": prompt,
            "revision": revision,
            "system": source.system,
            "user": source.user,
            "output_schema": source.output_schema,
            "max_output_tokens": source.max_output_tokens,
            "temperature": source.temperature,
            "created_at": self._clock.now(),
            "author": author,
        }


async def _require_tenant(connection: AsyncConnection, tenant: Tenant) -> None:
    if await tenants.find(connection, tenant.id) is None:
        raise tenants.not_provisioned()


async def _prompt(connection: AsyncConnection, tenant: Tenant, prompt: str) -> Prompt:
    query = select(_prompts).where(_prompts.c.tenant == tenant.id, _prompts.c.prompt == prompt)
    row = (await connection.execute(query)).mappings().first()
    if row is None:
        raise NotFound(Reason.NOT_FOUND, "there is no such prompt", kind="prompt")
    return _prompt_of(row)


async def _current(connection: AsyncConnection, tenant: Tenant, prompt: str, version: int) -> Prompt:
    found = await _prompt(connection, tenant, prompt)
    if found.version != version:
        message = f"the prompt is at version {found.version}, not {version}; read it again"
        raise Aborted(Reason.VERSION_CONFLICT, message, version=str(found.version))
    return found


async def _revision(connection: AsyncConnection, tenant: Tenant, prompt: str, revision: int) -> Revision:
    mine = (_revisions.c.tenant == tenant.id) & (_revisions.c.prompt == prompt) & (_revisions.c.revision == revision)
    row = (await connection.execute(select(_revisions).where(mine))).mappings().first()
    if row is None:
        raise NotFound(Reason.NOT_FOUND, "there is no such revision", kind="revision")
    return _revision_of(row)


def _prompt_of(row: RowMapping) -> Prompt:
    names = ("prompt", "production_revision", "latest_revision", "version", "updated_at")
    return Prompt(**{name: row[name] for name in names})


def _revision_of(row: RowMapping) -> Revision:
    names = ("system", "user", "output_schema", "max_output_tokens", "temperature")
    return Revision(row["revision"], Source(**{name: row[name] for name in names}), row["created_at"], row["author"])


def _changed_meanwhile() -> Aborted:
    return Aborted(Reason.VERSION_CONFLICT, "the prompt changed meanwhile; read it again")


def _too_many(kind: str, limit: int) -> ResourceExhausted:
    message = f"the tenant has {limit} {kind}, which is as many as it may; delete some"
    return ResourceExhausted(Reason.TOO_MANY, message, kind=kind, limit=str(limit))
