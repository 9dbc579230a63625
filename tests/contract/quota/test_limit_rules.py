"""Rules of limits on SQLite and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tenantry.kit.errors import Aborted, FailedPrecondition, NotFound, Reason, ResourceExhausted
from tenantry.kit.owner import Organisation, Tenant
from tenantry.kit.sql import Database, migrate
from tenantry.quota.entries import Limits, Rule
from tenantry.quota.limit_rules import MOST, MOST_RULES
from tenantry.quota.store_sql import SqlTenants
from tenantry.quota.store_sql_rules import SqlRules

ACME = Tenant("acme-org", "acme")
ORG = Tenant("acme-org", "")
ONE = Limits(concurrent_requests=1)


@pytest.fixture
async def database(sql_url: str) -> AsyncIterator[Database]:
    database = Database(sql_url, "quota")
    await migrate(database, "tenantry.quota.migrations")
    await SqlTenants(database).add(ACME, "pro")
    try:
        yield database
    finally:
        await database.close()


def rule(owner: Tenant = ACME, key: str = "", user: str = "", model: str = "gpt", limits: Limits = ONE) -> Rule:
    return Rule(owner, key, user, model, limits)


async def test_a_tenants_rules_come_with_the_tenant_and_an_organisations_by_themselves(database: Database) -> None:
    rules = SqlRules(database)
    await rules.put(rule(limits=MOST), 0)
    await rules.put(rule(ORG, model=""), 0)
    found = await SqlTenants(database).find("acme")
    assert found is not None and found.rules == {("", "", "gpt"): Rule(ACME, "", "", "gpt", MOST, 1)}
    assert await rules.of_organisation("acme-org") == {("", "", ""): Rule(ORG, "", "", "", ONE, 1)}
    assert await rules.of_organisation("other-org") == {}
    assert await rules.serves(Organisation("acme-org")) and not await rules.serves(Organisation("other-org"))


async def test_of_writes_that_read_the_same_version_one_is_made(database: Database) -> None:
    rules = SqlRules(database)
    for version in (0, 1):
        writes = (rules.put(rule(limits=Limits(tokens_per_day=number)), version) for number in range(1, 5))
        answers = await asyncio.gather(*writes, return_exceptions=True)
        assert [type(answer) for answer in answers].count(Aborted) == 3
        assert [answer.version for answer in answers if isinstance(answer, Rule)] == [version + 1]
    with pytest.raises(Aborted):
        await rules.remove(rule(), 1)
    await rules.remove(rule(), 2)
    with pytest.raises(NotFound):
        await rules.remove(rule(), 0)


async def test_pages_hold_every_rule_once_in_order(database: Database) -> None:
    rules = SqlRules(database)
    about = [("", "", "b"), ("", "ann", ""), ("k", "", ""), ("k", "ann", "b"), ("", "", "a")]
    for key, user, model in about:
        await rules.put(rule(key=key, user=user, model=model), 0)
    found: list[tuple[str, str, str]] = []
    after: tuple[str, str, str] | None = None
    while page := await rules.page(ACME, after, 2):
        found += [(one.key_id, one.end_user, one.model) for one in page]
        after = found[-1]
    assert len(found) == 5 and set(found) == set(about)
    assert await rules.page(ORG, None, 9) == []


async def test_an_owner_has_a_thousand_rules_at_most_and_may_change_each(database: Database) -> None:
    rules = SqlRules(database)
    for number in range(MOST_RULES):
        await rules.put(rule(model=f"m-{number}"), 0)
    with pytest.raises(ResourceExhausted) as refused:
        await rules.put(rule(model="one-more"), 0)
    assert (refused.value.reason, refused.value.metadata["limit"]) == (Reason.TOO_MANY, "1000")
    assert (await rules.put(rule(model="m-7", limits=Limits(tokens_per_day=5)), 1)).version == 2
    await rules.put(rule(ORG, model="one-more"), 0)


async def test_rules_of_a_tenant_that_is_not_served_are_refused_and_go_with_the_tenant(database: Database) -> None:
    rules, tenants = SqlRules(database), SqlTenants(database)
    await rules.put(rule(), 0)
    await rules.put(rule(ORG), 0)
    await tenants.remove(ACME)
    with pytest.raises(FailedPrecondition):
        await rules.put(rule(), 1)
    await tenants.add(ACME, "free")
    assert await rules.page(ACME, None, 9) == [] and len(await rules.of_organisation("acme-org")) == 1
