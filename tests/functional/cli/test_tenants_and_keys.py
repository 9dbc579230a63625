"""`tenantry org`, `tenant` and `key`: an operator onboards a customer."""

import secrets

import pytest

from tests.functional.cli.command import Command
from tests.harness.mesh import TenantKeys


@pytest.fixture
def name() -> str:
    return f"org-{secrets.token_hex(4)}"


def test_a_customer_is_onboarded_and_goes_again(operator: Command, name: str) -> None:
    assert operator(f"org create {name} --name 'A [bold] name'").json()["display_name"] == "A [bold] name"
    assert name in [line["organisation"] for line in operator("org list").lines()]
    operation = operator(f"tenant create {name}-t --org {name} --tier pro").json()
    assert operation["state"] == "OPERATION_STATE_DONE"
    assert {step["service"] for step in operation["steps"]} >= {"quota", "retrieval", "cache", "prompts", "models"}
    (listed,) = operator(f"tenant list --org {name}").lines()
    assert (listed["tenant"], listed["tier"], listed["state"]) == (f"{name}-t", "TIER_PRO", "TENANT_STATE_ACTIVE")
    assert operator(f"tenant show {name}-t").json()["organisation"] == name
    assert operator(f"tenant delete {name}-t --yes").json()["state"] == "OPERATION_STATE_DONE"
    assert operator(f"tenant list --org {name}").lines() == []


def test_the_steps_are_shown_on_a_terminal(operator: Command, name: str) -> None:
    operator(f"org create {name}")
    shown = operator.on_terminal(f"tenant create {name}-t --org {name}")
    assert shown.status == 0, shown
    for service in ("quota", "retrieval", "cache", "prompts", "models", "insight"):
        assert f"✓  {service}" in shown.out, shown.out


def test_a_tenant_is_not_deleted_unasked(operator: Command, keys: TenantKeys) -> None:
    assert operator(f"tenant delete {keys.tenant}").status == 1
    assert operator(f"tenant show {keys.tenant}").json()["state"] == "TENANT_STATE_ACTIVE"


def test_what_is_not_there_or_there_already_is_said_in_a_sentence(operator: Command, name: str) -> None:
    unknown = operator(f"tenant show {name}")
    assert unknown.status == 1 and "NOT_FOUND" in unknown.err and unknown.err.count("\n") == 1
    malformed = operator("tenant create 'Not an id' --org x")
    assert malformed.status == 1 and "tenant" in malformed.err
    missing = operator(f"tenant create {name}")
    assert missing.status == 1 and "organisation" in missing.err
    assert operator(f"tenant create {name} --org x --tier gold").status == 2


def test_a_key_is_made_and_listed_and_refused_once_it_is_revoked(operator: Command, keys: TenantKeys) -> None:
    made = operator(f"key create --tenant {keys.tenant} --name reader --scope documents.read").json()
    reader = operator.within(TENANTRY_KEY=made["secret"])
    assert reader("docs list").status == 0
    beyond = reader("usage")
    assert beyond.status == 1 and "usage.read" in beyond.err and "SCOPE_MISSING" in beyond.err
    listed = {line["key_id"]: line for line in operator(f"key list --tenant {keys.tenant}").lines()}
    assert listed[made["key_id"]]["scopes"] == ["documents.read"] and made["secret"] not in str(listed)
    assert operator(f"key revoke {made['key_id']} --tenant {keys.tenant}").json()["revoke_time"]
    refused = reader("docs list")
    assert refused.status == 1 and "CREDENTIAL_INVALID" in refused.err and refused.err.count("\n") == 1


def test_a_key_that_loses_a_scope_is_refused_it_and_keeps_what_was_not_said(
    operator: Command, keys: TenantKeys
) -> None:
    made = operator(
        f"key create --tenant {keys.tenant} --scope documents.read --scope traces.read --collection faq --network 127.0.0.0/8"
    ).json()
    reader = operator.within(TENANTRY_KEY=made["secret"])
    assert reader("docs list --collection faq").status == 0
    narrowed = f"key update {made['key_id']} --tenant {keys.tenant} --scope traces.read --expires 2100-01-02"
    changed = operator(narrowed).json()
    assert (changed["scopes"], changed["collections"], changed["version"]) == (["traces.read"], ["faq"], "2")
    assert changed["networks"] == ["127.0.0.0/8"]
    assert changed["expire_time"].startswith("2100-01-02T00:00:00")
    refused = reader("docs list --collection faq")
    assert refused.status == 1 and "SCOPE_MISSING" in refused.err
    freed = operator(
        f"key update {made['key_id']} --tenant {keys.tenant} --scope documents.read --collection ''"
    ).json()
    assert (freed["scopes"], freed["collections"], freed["expire_time"]) == (
        ["documents.read"],
        [],
        changed["expire_time"],
    )
    assert reader("docs list").status == 0
    operator(f"key update {made['key_id']} --tenant {keys.tenant} --network 203.0.113.0/24")
    elsewhere = reader("docs list")
    assert elsewhere.status == 1 and "NETWORK_DENIED" in elsewhere.err
    unknown = operator(f"key update key_x --tenant {keys.tenant}")
    assert unknown.status == 1 and "key_x is not among the keys" in unknown.err


def test_a_suspended_tenant_is_refused_until_it_is_resumed(operator: Command, keys: TenantKeys) -> None:
    own = operator.within(TENANTRY_KEY=keys.key)
    assert operator(f"tenant suspend {keys.tenant}").json()["state"] == "TENANT_STATE_SUSPENDED"
    refused = own("docs list")
    assert refused.status == 1 and "TENANT_NOT_ACTIVE" in refused.err and "SUSPENDED" in refused.err
    assert operator(f"tenant resume {keys.tenant}").json()["state"] == "TENANT_STATE_ACTIVE"
    assert own("docs list").status == 0


def test_a_tenants_admin_makes_keys_of_his_tenant(tenantry: Command) -> None:
    made = tenantry("key create").json()
    assert tenantry.within(TENANTRY_KEY=made["secret"])("docs list").status == 0


def test_an_operator_who_names_no_tenant_gets_no_key_by_accident(operator: Command) -> None:
    before = len(operator("key list").lines())
    assert operator("key create").status != 0
    assert len(operator("key list").lines()) == before
    assert operator("key create --role operator --name second").json()["secret"]


@pytest.mark.parametrize("key", ["junk", "tnt_junk", "", " ", "a b", "ключ", "a\nb", "x" * 20_000])
def test_a_junk_key_is_refused_in_one_sentence(operator: Command, key: str) -> None:
    refused = operator("docs list --key", key)
    assert refused.status == 1 and refused.err.count("\n") == 1, refused
    assert not key.strip() or key not in refused.err
