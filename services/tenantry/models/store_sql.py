"""Models, policies and credentials in SQL. Each change is one transaction with its entry in the change log."""

import json
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import audit_outbox, changes, tenants
from tenantry.kit.errors import Aborted, AlreadyExists, Conflict, Reason, ResourceExhausted
from tenantry.kit.owner import Tenant
from tenantry.kit.sql import Database
from tenantry.models.model import Account, Holdings, Model, Owner, Policy, Provider, key_of, tenant_of

# The kind under which an owner's holdings stand in the change log; the key is `key_of`.
KIND = "models"
MAX_MODELS = 200
MAX_CREDENTIALS = 50

_metadata = MetaData()
_models = Table(
    "models",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("provider", Text),
    Column("provider_model", Text),
    Column("base_url", Text),
    Column("region", Text),
    Column("input_price_micros", BigInteger),
    Column("output_price_micros", BigInteger),
    Column("max_output_tokens", Integer),
    Column("by_operator", Boolean),
    Column("cached_input_price_micros", BigInteger),
)
_policies = Table(
    "policies",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("policy", Text),
    Column("version", BigInteger),
)
_credentials = Table(
    "credentials",
    _metadata,
    Column("tenant", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("base_url", Text, primary_key=True),
    Column("sealed", LargeBinary),
)


class SqlModelStore:
    """A ModelStore on SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_tenant(self, tenant_id: str) -> Tenant | None:
        async with self._database.read() as connection:
            found = await tenants.find(connection, tenant_id)
        return None if found is None else found[0]

    async def add_tenant(self, tenant: Tenant, tier: str) -> bool:
        async with self._database.write() as connection:
            return await tenants.add(connection, tenant, tier)

    async def remove_tenant(self, tenant: Tenant) -> int | None:
        async with self._database.write() as connection:
            await changes.record(connection, KIND, key_of(tenant))
            gone = await connection.execute(delete(_models).where(_models.c.tenant == tenant.id))
            for table in (_policies, _credentials):
                await connection.execute(delete(table).where(table.c.tenant == tenant.id))
            return gone.rowcount if await tenants.remove(connection, tenant) else None

    async def load(self, owner: Owner) -> Holdings:
        tenant = tenant_of(owner)
        async with self._database.read() as connection:
            if tenant:
                await _require_tenant(connection, tenant)
            models = (await connection.execute(select(_models).where(_models.c.tenant == tenant))).mappings().all()
            policy = (await connection.execute(select(_policies).where(_policies.c.tenant == tenant))).first()
            credentials = (await connection.execute(select(_credentials).where(_credentials.c.tenant == tenant))).all()
        return Holdings(
            {row["model"]: _model_of(row) for row in models},
            _policy_of(policy.policy) if policy else Policy(),
            policy.version if policy else 0,
            {(Provider(row.provider), row.base_url): row.sealed for row in credentials},
        )

    async def providers(self) -> set[Provider]:
        async with self._database.read() as connection:
            found = await connection.execute(select(_models.c.provider).distinct())
            return {Provider(name) for (name,) in found}

    async def register(self, owner: Owner, model: Model) -> None:
        tenant = tenant_of(owner)
        async with self._database.write() as connection:
            # First, not last: its lock lets nobody else register meanwhile, so that an id stays unique over owners.
            await changes.record(connection, KIND, key_of(owner))
            if tenant:
                await _require_tenant(connection, tenant)
            known = await self._same_id(connection, tenant, model.model)
            if any(one != model for one in known):
                raise AlreadyExists(Reason.ALREADY_EXISTS, "the id is taken by another model", kind="model")
            if known:
                return
            count = select(func.count()).select_from(_models).where(_models.c.tenant == tenant)
            if (await connection.execute(count)).scalar_one() >= MAX_MODELS:
                raise _too_many("models", MAX_MODELS)
            await connection.execute(insert(_models).values(asdict(model)))
            await audit_outbox.append(connection, owner, "RegisterModel", model.model)

    async def deregister(self, owner: Owner, model: str) -> bool:
        mine = (_models.c.tenant == tenant_of(owner)) & (_models.c.model == model)
        async with self._database.write() as connection:
            if isinstance(owner, Tenant):
                await _require_tenant(connection, owner.id)
            gone = await connection.execute(delete(_models).where(mine))
            if gone.rowcount:
                await audit_outbox.append(connection, owner, "DeregisterModel", model)
                await changes.record(connection, KIND, key_of(owner))
            return gone.rowcount > 0

    async def put_policy(self, tenant: Tenant, policy: Policy, version: int) -> int:
        text = json.dumps(asdict(policy))
        try:
            async with self._database.write() as connection:
                await _require_tenant(connection, tenant.id)
                if version == 0:
                    await connection.execute(insert(_policies).values(tenant=tenant.id, policy=text, version=1))
                else:
                    mine = (_policies.c.tenant == tenant.id) & (_policies.c.version == version)
                    changed = update(_policies).where(mine).values(policy=text, version=_policies.c.version + 1)
                    if not (await connection.execute(changed)).rowcount:
                        raise _changed_meanwhile()
                await audit_outbox.append(connection, tenant, "UpdateRoutingPolicy", tenant.id)
                await changes.record(connection, KIND, key_of(tenant))
        except Conflict:
            raise _changed_meanwhile() from None
        return version + 1

    async def put_credential(self, owner: Owner, account: Account, sealed: bytes | None) -> None:
        tenant = tenant_of(owner)
        provider, base_url = account
        mine = (
            (_credentials.c.tenant == tenant)
            & (_credentials.c.provider == provider.value)
            & (_credentials.c.base_url == base_url)
        )
        async with self._database.write() as connection:
            # First, for its lock: two writers of one credential, or of the last free place, follow each other.
            await changes.record(connection, KIND, key_of(owner))
            if tenant:
                await _require_tenant(connection, tenant)
            await connection.execute(delete(_credentials).where(mine))
            await audit_outbox.append(connection, owner, "SetProviderCredential", provider.value)
            if sealed is None:
                return
            count = select(func.count()).select_from(_credentials).where(_credentials.c.tenant == tenant)
            if (await connection.execute(count)).scalar_one() >= MAX_CREDENTIALS:
                raise _too_many("credentials", MAX_CREDENTIALS)
            row = {"tenant": tenant, "provider": provider.value, "base_url": base_url, "sealed": sealed}
            await connection.execute(insert(_credentials).values(row))

    async def _same_id(self, connection: AsyncConnection, tenant: str, model: str) -> list[Model]:
        """The models of this id that a tenant could meet: for a platform's model those of all tenants."""
        query = select(_models).where(_models.c.model == model)
        if tenant:
            query = query.where(_models.c.tenant.in_(("", tenant)))
        return [_model_of(row) for row in (await connection.execute(query)).mappings()]


async def _require_tenant(connection: AsyncConnection, tenant_id: str) -> None:
    if await tenants.find(connection, tenant_id) is None:
        raise tenants.not_provisioned()


def _model_of(row: RowMapping) -> Model:
    values: dict[str, Any] = {**row, "provider": Provider(row["provider"])}
    return Model(**values)


def _policy_of(text: str) -> Policy:
    values: dict[str, Any] = json.loads(text)
    values["allowed_providers"] = [Provider(name) for name in values["allowed_providers"]]
    preferred: str = values.pop("preferred_model")
    return Policy(preferred_model=preferred, **{name: tuple(value) for name, value in values.items()})


def _changed_meanwhile() -> Aborted:
    return Aborted(Reason.VERSION_CONFLICT, "the policy is not at the version that the write names; read it again")


def _too_many(kind: str, limit: int) -> ResourceExhausted:
    message = f"there are {limit} {kind}, which is as many as there may be; delete some"
    return ResourceExhausted(Reason.TOO_MANY, message, kind=kind, limit=str(limit))
