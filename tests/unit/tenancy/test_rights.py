"""What a key's maker may give away, and whom an administrator may name."""

from itertools import pairwise

import pytest

from tenantry.kit import owner
from tenantry.kit.errors import NotFound, PermissionDenied, Reason
from tenantry.tenancy import reach, roles
from tenantry.tenancy.records import Tenant, TenantState, Tier
from tenantry.tenancy.rights import Bounds, Grant, check_grant, takes_away
from tests.harness.room import caller_of

ADMIN = caller_of(scopes=roles.ROLES[roles.TENANT_ADMIN])
SERVICE = roles.ROLES[roles.TENANT_SERVICE]


def test_each_role_is_within_the_one_that_hands_it_out() -> None:
    chain = (roles.TENANT_SERVICE, roles.TENANT_ADMIN, roles.ORGANISATION_ADMIN, roles.OPERATOR)
    for smaller, larger in pairwise(chain):
        assert roles.ROLES[smaller] < roles.ROLES[larger]
    assert roles.ROLES[roles.AUDITOR] < roles.ROLES[roles.OPERATOR]
    assert all(scope.endswith(".read") for scope in roles.ROLES[roles.AUDITOR])
    assert roles.ROLES[roles.OPERATOR] == roles.SCOPES


def test_a_grant_within_its_maker_is_given() -> None:
    check_grant(ADMIN, Bounds(), Grant(SERVICE))
    restricted = caller_of(scopes=ADMIN.scopes, models=("small", "large"), collections=("faq",))
    check_grant(restricted, Bounds(2_000), Grant(SERVICE, ("small",), ("faq",), 2_000))


def test_a_scope_that_the_maker_lacks_is_refused_and_named() -> None:
    with pytest.raises(PermissionDenied) as refused:
        check_grant(ADMIN, Bounds(), Grant(SERVICE | {"tenants.write"}))
    assert (refused.value.reason, refused.value.metadata) == (Reason.SCOPE_MISSING, {"scope": "tenants.write"})


@pytest.mark.parametrize(
    ("grant", "reason"),
    [
        (Grant(SERVICE), Reason.MODEL_DENIED),
        (Grant(SERVICE, ("small", "other"), ("faq",)), Reason.MODEL_DENIED),
        (Grant(SERVICE, ("small",)), Reason.COLLECTION_DENIED),
        (Grant(SERVICE, ("small",), ("faq", "other")), Reason.COLLECTION_DENIED),
        (Grant(SERVICE, ("small",), ("faq",)), Reason.CALLER_NOT_ALLOWED),
        (Grant(SERVICE, ("small",), ("faq",), 2_001), Reason.CALLER_NOT_ALLOWED),
    ],
)
def test_a_restricted_maker_gives_nothing_beyond_its_restriction(grant: Grant, reason: Reason) -> None:
    maker = caller_of(scopes=ADMIN.scopes, models=("small",), collections=("faq",))
    with pytest.raises(PermissionDenied) as refused:
        check_grant(maker, Bounds(2_000), grant)
    assert refused.value.reason is reason


def _tenant(tenant_id: str, organisation: str) -> Tenant:
    return Tenant(tenant_id, organisation, tenant_id, Tier.PRO, TenantState.ACTIVE, "op_1", 0)


@pytest.mark.parametrize(
    ("tenant", "organisation", "reaches"),
    [
        ("acme", "acme-org", {"acme"}),
        ("", "acme-org", {"acme", "acme-two"}),
        ("", "", {"acme", "acme-two", "globex"}),
        ("globex", "globex-org", {"globex"}),
    ],
)
def test_an_administrator_reaches_its_own_and_no_other(tenant: str, organisation: str, reaches: set[str]) -> None:
    caller = caller_of(tenant, organisation)
    for one in (_tenant("acme", "acme-org"), _tenant("acme-two", "acme-org"), _tenant("globex", "globex-org")):
        if one.id in reaches:
            assert reach.reached(caller, one) == one
        else:
            with pytest.raises(NotFound):
                reach.reached(caller, one)


def test_a_tenants_caller_administers_no_organisation() -> None:
    assert not reach.may_name_organisation(caller_of("acme", "acme-org"), "acme-org")
    assert reach.may_name_organisation(caller_of("", "acme-org"), "acme-org")
    assert not reach.may_name_organisation(caller_of("", "acme-org"), "globex-org")
    assert reach.may_name_organisation(caller_of("", ""), "globex-org")


def test_a_caller_belongs_to_its_tenant_its_organisation_or_the_platform() -> None:
    assert reach.own(caller_of("acme", "acme-org")) == owner.Tenant("acme-org", "acme")
    assert reach.own(caller_of("", "acme-org")) == owner.Organisation("acme-org")
    assert reach.own(caller_of("", "")) == owner.Platform()


BEFORE = Grant(frozenset({"generate", "documents.read"}), ("a", "b"), (), 100)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (BEFORE, False),
        (Grant(BEFORE.scopes | {"prompts.read"}, ("a", "b", "c"), (), 200), False),
        (Grant(BEFORE.scopes, (), (), None), False),
        (Grant(frozenset({"generate"}), ("a", "b"), (), 100), True),
        (Grant(BEFORE.scopes, ("a", "c"), (), 100), True),
        (Grant(BEFORE.scopes, ("a", "b"), ("faq",), 100), True),
        (Grant(BEFORE.scopes, ("a", "b"), (), 99), True),
    ],
)
def test_less_of_anything_takes_something_away(after: Grant, expected: bool) -> None:
    assert takes_away(BEFORE, after) is expected


def test_an_end_takes_away_from_a_key_that_had_none() -> None:
    assert takes_away(Grant(frozenset({"generate"})), Grant(frozenset({"generate"}), expires_ns=100))


@pytest.mark.parametrize("given", [(), ("192.0.2.0/23",), ("192.0.2.0/25", "10.0.0.0/8")])
def test_networks_wider_than_the_makers_are_refused(given: tuple[str, ...]) -> None:
    bounds = Bounds(networks=("192.0.2.0/24", "2001:db8::/32"))
    check_grant(ADMIN, bounds, Grant(SERVICE, networks=("192.0.2.128/25", "2001:db8:1::/48")))
    with pytest.raises(PermissionDenied) as refused:
        check_grant(ADMIN, bounds, Grant(SERVICE, networks=given))
    assert refused.value.reason is Reason.NETWORK_DENIED
