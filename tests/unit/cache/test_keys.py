"""The keys that cache stores."""

from tenantry.cache.keys import scope_keys, tenant_keys
from tenantry.kit.owner import Tenant

ACME = Tenant("acme-org", "acme")


def test_all_keys_of_a_tenant_share_a_slot_of_its_own() -> None:
    slots = {key.partition("}")[0] for key in scope_keys(ACME, "ab")}
    assert slots == {"{cache-acme"}
    assert not slots & {key.partition("}")[0] for key in scope_keys(Tenant("acme-org", "acme-2"), "ab")}


def test_each_kind_tenant_and_scope_has_keys_of_its_own() -> None:
    owners = [ACME, Tenant("acme-org", "acme-2")]
    by_scope = [key for owner in owners for scope in ("ab", "abc") for key in scope_keys(owner, scope)[:3]]
    by_tenant = [key for owner in owners for key in tenant_keys(owner)]
    assert len(set(by_scope + by_tenant)) == len(by_scope + by_tenant)
    assert scope_keys(ACME, "ab")[3:] == tenant_keys(ACME)
