"""Rules of limits in SQL, of tenants and of organisations."""

from collections.abc import Sequence

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    MetaData,
    RowMapping,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from tenantry.kit import audit_outbox, changes, tenants
from tenantry.kit.errors import Aborted, Conflict, NotFound, Reason, ResourceExhausted
from tenantry.kit.owner import Organisation, Owner, Tenant
from tenantry.kit.sql import Database
from tenantry.quota.entries import NO_OVERRIDES, Limits, Rule, Rules
from tenantry.quota.limit_changes import told_rule
from tenantry.quota.limit_rules import MOST_RULES, NAMES

# The kind under which an organisation's rules stand in the change log; the key is its id. A tenant's stand under the tenant.
KIND = "organisation_rules"

_rules = Table(
    "limit_rules",
    MetaData(),
    *(Column(name, Text, primary_key=True) for name in ("organisation", "tenant", "key_id", "end_user", "model")),
    Column("version", BigInteger, nullable=False),
    *(Column(name, BigInteger, nullable=False) for name in NAMES),
)
_ABOUT = (_rules.c.key_id, _rules.c.end_user, _rules.c.model)


class SqlRules:
    """Rules on SQLite or PostgreSQL. Their owner is a tenant, or without an id its organisation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_organisation(self, organisation: str) -> Rules:
        async with self._database.read() as connection:
            return await rules_of(connection, Tenant(organisation, ""))

    async def serves(self, owner: Organisation) -> bool:
        async with self._database.read() as connection:
            return await tenants.has_any(connection, owner)

    async def page(self, owner: Tenant, after: tuple[str, str, str] | None, size: int) -> Sequence[Rule]:
        query = select(_rules).where(*_owned(owner)).order_by(*_ABOUT).limit(size)
        if after is not None:
            query = query.where(tuple_(*_ABOUT) > after)
        async with self._database.read() as connection:
            return [_rule(row) for row in (await connection.execute(query)).mappings()]

    async def put(self, rule: Rule, version: int) -> Rule:
        owner, about = rule.owner, (rule.key_id, rule.end_user, rule.model)
        values = {name: getattr(rule.limits, name) for name in NAMES} | {"version": version + 1}
        try:
            async with self._database.write() as connection:
                before = await self._at(connection, owner, about, version)
                if version == 0:
                    await _check_room(connection, owner)
                    names = dict(zip(("key_id", "end_user", "model"), about, strict=True))
                    row = {"organisation": owner.organisation, "tenant": owner.id, **names, **values}
                    await connection.execute(insert(_rules).values(row))
                else:
                    changed = update(_rules).where(*_named(owner, about), _rules.c.version == version).values(**values)
                    if (await connection.execute(changed)).rowcount == 0:
                        raise _changed("")  # PostgreSQL let another transaction write between our read and our write
                await _record(connection, "SetLimitRule", rule, before, rule.limits)
        except Conflict:
            raise _changed("") from None
        return Rule(owner, *about, rule.limits, version + 1)

    async def remove(self, rule: Rule, version: int) -> None:
        owner, about = rule.owner, (rule.key_id, rule.end_user, rule.model)
        async with self._database.write() as connection:
            before = await self._at(connection, owner, about, version)
            gone = delete(_rules).where(*_named(owner, about), _rules.c.version == version)
            if (await connection.execute(gone)).rowcount == 0:
                raise NotFound(Reason.NOT_FOUND, "there is no such rule", kind="limit_rule")
            await _record(connection, "DeleteLimitRule", rule, before, NO_OVERRIDES)

    async def _at(
        self, connection: AsyncConnection, owner: Tenant, about: tuple[str, str, str], version: int
    ) -> Limits:
        """The rule's limits before a write that read `version`."""
        if owner.id and await tenants.find(connection, owner.id) is None:
            raise tenants.not_provisioned()
        row = (await connection.execute(select(_rules).where(*_named(owner, about)))).mappings().first()
        known = row["version"] if row else 0
        if known != version:
            raise _changed(str(known))
        return limits_in(row) if row else NO_OVERRIDES


async def rules_of(connection: AsyncConnection, owner: Tenant) -> Rules:
    """All rules of the owner."""
    rows = (await connection.execute(select(_rules).where(*_owned(owner)))).mappings()
    return {(rule.key_id, rule.end_user, rule.model): rule for rule in map(_rule, rows)}


async def forget_rules(connection: AsyncConnection, owner: Tenant) -> None:
    """Delete all rules of the owner."""
    await connection.execute(delete(_rules).where(*_owned(owner)))


def limits_in(row: RowMapping) -> Limits:
    """The limits that stand in a row."""
    return Limits(*(row[name] for name in NAMES))


async def _check_room(connection: AsyncConnection, owner: Tenant) -> None:
    count = select(func.count()).select_from(_rules).where(*_owned(owner))
    if (await connection.execute(count)).scalar_one() >= MOST_RULES:
        message = f"there are {MOST_RULES} rules already; delete some"
        raise ResourceExhausted(Reason.TOO_MANY, message, kind="limit_rule", limit=str(MOST_RULES))


async def _record(connection: AsyncConnection, action: str, rule: Rule, before: Limits, after: Limits) -> None:
    owner = rule.owner
    whose: Owner = owner if owner.id else Organisation(owner.organisation)
    for told in told_rule(rule, before, after):
        await audit_outbox.append(connection, whose, action, told)
    await changes.record(connection, *((tenants.KIND, owner.id) if owner.id else (KIND, owner.organisation)))


def _owned(owner: Tenant) -> tuple[ColumnElement[bool], ...]:
    return _rules.c.organisation == owner.organisation, _rules.c.tenant == owner.id


def _named(owner: Tenant, about: tuple[str, str, str]) -> tuple[ColumnElement[bool], ...]:
    return *_owned(owner), *(column == part for column, part in zip(_ABOUT, about, strict=True))


def _rule(row: RowMapping) -> Rule:
    owner = Tenant(row["organisation"], row["tenant"])
    return Rule(owner, row["key_id"], row["end_user"], row["model"], limits_in(row), row["version"])


def _changed(version: str) -> Aborted:
    now = {"version": version} if version else {}
    return Aborted(Reason.VERSION_CONFLICT, "the rule changed since that version; read it again", **now)
