"""JWTs of a tenant's own OIDC issuer as credentials, over the real stubs and against an issuer that really answers."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tenantry.api.tenancy.v1 import audit_service_pb2 as audit_pb
from tenantry.api.tenancy.v1 import issuer_service_pb2 as pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.kit import call
from tenantry.kit.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    TenantryError,
    Unauthenticated,
    Unavailable,
)
from tests.functional.tenancy.world import World, world
from tests.harness.issuer import AUDIENCE, WELL_KNOWN, Issuer, issuer


@pytest.fixture
async def tenancy(tmp_path: Path) -> AsyncIterator[World]:
    """One kind of channel: what differs between them is tried with keys."""
    async with world(tmp_path) as running:
        await running.tenant("acme", "acme-org")
        yield running


@pytest.fixture
async def acmes() -> AsyncIterator[Issuer]:
    async with issuer("ES256", "RS256", "EdDSA") as running:
        yield running


async def register(tenancy: World, running: Issuer, tenant: str = "acme", **more: Any) -> pb.Issuer:
    fields: dict[str, Any] = {"url": running.url, "audience": AUDIENCE, "scopes": ["generate", "documents.read"]} | more
    async with tenancy.as_holder(tenancy.operator):
        response = await tenancy.issuers.RegisterIssuer(pb.RegisterIssuerRequest(tenant=tenant, **fields))
    return response.issuer


async def test_a_token_of_each_algorithm_speaks_for_the_issuers_tenant(tenancy: World, acmes: Issuer) -> None:
    registered = await register(tenancy, acmes, models=["small"], collections=["faq"])
    principals: set[str] = set()
    for key_id in acmes.pairs:
        answer = await tenancy.authenticate(acmes.token(key_id))
        caller = await tenancy.caller(answer.assertion)
        assert (caller.tenant, caller.organisation, caller.key_id) == ("acme", "acme-org", registered.issuer_id)
        assert caller.scopes == {"generate", "documents.read"}
        assert (caller.models, caller.collections, caller.key_generation) == (("small",), ("faq",), 1)
        principals.add(caller.principal)
    (ada,) = principals
    assert ada.startswith(f"{registered.issuer_id}:") and "ada" not in ada
    other = await tenancy.caller((await tenancy.authenticate(acmes.token(sub="bob"))).assertion)
    assert other.principal != ada


async def test_a_token_seen_before_costs_no_fetch_and_gives_the_same_assertion(tenancy: World, acmes: Issuer) -> None:
    await register(tenancy, acmes)
    token = acmes.token()
    first = await tenancy.authenticate(token)
    asked = len(acmes.asked)
    assert await tenancy.authenticate(token) == first
    assert len(acmes.asked) == asked


async def test_an_assertion_ends_no_later_than_its_token(tenancy: World, acmes: Issuer) -> None:
    await register(tenancy, acmes)
    end = int(time.time()) + 20
    assert (await tenancy.authenticate(acmes.token(exp=end))).expire_time.seconds == end
    # Beside it another token of the same person, which ends later.
    assert (await tenancy.authenticate(acmes.token(exp=end + 400))).expire_time.seconds > end


async def test_a_token_may_have_less_than_its_issuer_by_its_scope_claim(tenancy: World, acmes: Issuer) -> None:
    await register(tenancy, acmes, narrow_by_scope_claim=True)
    for claim, scopes in (("generate keys.write", {"generate"}), (None, set[str]())):
        answer = await tenancy.authenticate(acmes.token(scope=claim))
        assert (await tenancy.caller(answer.assertion)).scopes == scopes


async def test_a_removed_issuers_callers_are_refused_and_its_url_is_free(tenancy: World, acmes: Issuer) -> None:
    await tenancy.tenant("globex", "globex-org")
    registered = await register(tenancy, acmes)
    token = acmes.token()
    before = await tenancy.call_of(token)
    async with tenancy.as_holder(tenancy.operator):
        remove = pb.RemoveIssuerRequest(tenant="acme", issuer_id=registered.issuer_id)
        removed = (await tenancy.issuers.RemoveIssuer(remove)).issuer
        assert removed.HasField("remove_time")
        assert (await tenancy.issuers.RemoveIssuer(remove)).issuer == removed
        assert not (await tenancy.issuers.ListIssuers(pb.ListIssuersRequest(tenant="acme"))).issuers
    with pytest.raises(Unauthenticated):
        await tenancy.authenticate(token)
    again = await register(tenancy, acmes, "globex", scopes=["keys.write"])
    assert again.issuer_id == registered.issuer_id
    caller = await tenancy.caller((await tenancy.authenticate(token)).assertion)
    # Above what the first tenant's callers had, so that a feed of generations tells them apart.
    assert (caller.tenant, caller.key_generation) == ("globex", 3)
    with tenancy.as_caller(before), pytest.raises(TenantryError):
        await tenancy.issuers.RegisterIssuer(pb.RegisterIssuerRequest(url=acmes.url, audience="x", scopes=["generate"]))


async def test_an_issuer_belongs_to_one_tenant_and_goes_with_it(tenancy: World, acmes: Issuer) -> None:
    await tenancy.tenant("globex", "globex-org")
    await register(tenancy, acmes)
    for tenant in ("acme", "globex"):
        with pytest.raises(AlreadyExists):
            await register(tenancy, acmes, tenant)
    token = acmes.token()
    await tenancy.authenticate(token)
    async with tenancy.as_holder(tenancy.operator):
        await tenancy.tenants.DeleteTenant(tenant_pb.DeleteTenantRequest(tenant="acme"))
    with pytest.raises(Unauthenticated):
        await tenancy.authenticate(token)
    assert (await register(tenancy, acmes, "globex")).tenant == "globex"


async def test_a_tenant_has_a_few_issuers_and_its_own_alone(tenancy: World, acmes: Issuer) -> None:
    await tenancy.tenant("globex", "globex-org")
    registered = await register(tenancy, acmes)
    _, stranger = await tenancy.key("globex")
    async with tenancy.as_holder(stranger):
        assert not (await tenancy.issuers.ListIssuers(pb.ListIssuersRequest())).issuers
        with pytest.raises(NotFound):
            await tenancy.issuers.ListIssuers(pb.ListIssuersRequest(tenant="acme"))
        with pytest.raises(NotFound):
            await tenancy.issuers.RemoveIssuer(pb.RemoveIssuerRequest(issuer_id=registered.issuer_id))
    place = acmes.url
    for number in range(1, 10):
        acmes.url = f"{place}/{number}"
        acmes.answers[f"/{number}{WELL_KNOWN}"] = acmes.answer(WELL_KNOWN)
        acmes.answers[f"/{number}/keys"] = acmes.answer("/keys")
        await register(tenancy, acmes)
    with pytest.raises(ResourceExhausted):
        acmes.url = f"{place}/1"
        await register(tenancy, acmes)


async def test_a_wrong_field_of_an_issuer_is_named(tenancy: World, acmes: Issuer) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"url": ""}, "url"),
        ({"url": "ftp://127.0.0.1"}, "url"),
        ({"url": "https://Login.example.com"}, "url"),
        ({"url": "https://login.example.com:443"}, "url"),
        ({"url": "https://login.example.com?x=1"}, "url"),
        ({"audience": ""}, "audience"),
        ({"audience": "x" * 256}, "audience"),
        ({"scopes": []}, "scopes"),
        ({"networks": ["10.0.0.1/8"]}, "networks[0]"),
        ({"tenant": ""}, "tenant"),
    ]
    for changes, field in wrong:
        with pytest.raises(InvalidArgument) as refused:
            await register(tenancy, acmes, **changes)
        assert refused.value.violations[0][0] == field


async def test_an_issuer_that_can_not_be_read_is_told_so_when_it_is_registered(tenancy: World, acmes: Issuer) -> None:
    wrong: list[tuple[str, tuple[int, dict[str, str], bytes]]] = [
        (WELL_KNOWN, (500, {}, b"")),
        (WELL_KNOWN, (200, {}, b"no json")),
        (WELL_KNOWN, (200, {}, b"[]")),
        (WELL_KNOWN, (200, {}, b'{"issuer": "https://other.example.com"}')),
        (WELL_KNOWN, (200, {}, f'{{"issuer": "{acmes.url}"}}'.encode())),
        ("/keys", (200, {}, b"{}")),
        ("/keys", (200, {}, b" " * 300_000)),
        ("/keys", (200, {"content-encoding": "gzip"}, b"x")),
    ]
    for path, answer in wrong:
        acmes.answers = {path: answer}
        with pytest.raises(Unavailable) as refused:
            await register(tenancy, acmes)
        assert refused.value.reason is Reason.ISSUER_UNAVAILABLE and refused.value.retry_after_s
    acmes.answers = {}
    await register(tenancy, acmes)


async def test_a_caller_of_a_restricted_issuer_or_of_a_tenant_that_is_not_served(tenancy: World, acmes: Issuer) -> None:
    await register(tenancy, acmes, networks=["192.0.2.0/24"])
    token = acmes.token()
    await tenancy.authenticate(token, "192.0.2.9")
    for elsewhere in ("", "198.51.100.1", "2001:db8::1"):
        with pytest.raises(PermissionDenied) as refused:
            await tenancy.authenticate(token, elsewhere)
        assert refused.value.reason is Reason.NETWORK_DENIED


async def test_a_person_of_an_issuer_may_make_no_more_than_he_has(tenancy: World, acmes: Issuer) -> None:
    await register(tenancy, acmes, scopes=["generate", "keys.write", "keys.read"], networks=["192.0.2.0/24"])
    answer = await tenancy.authenticate(acmes.token(), "192.0.2.9")
    with tenancy.as_caller(call.Call(caller=await tenancy.caller(answer.assertion), assertion=answer.assertion)):
        with pytest.raises(PermissionDenied):
            await tenancy.keys.CreateApiKey(key_pb.CreateApiKeyRequest(scopes=["documents.read"]))
        with pytest.raises(PermissionDenied):
            await tenancy.keys.CreateApiKey(key_pb.CreateApiKeyRequest(scopes=["generate"]))
        networks = ["192.0.2.128/25"]
        made = await tenancy.keys.CreateApiKey(key_pb.CreateApiKeyRequest(scopes=["generate"], networks=networks))
    assert made.key.networks == networks


async def test_what_was_done_with_issuers_is_audited(tenancy: World, acmes: Issuer) -> None:
    registered = await register(tenancy, acmes)
    async with tenancy.as_holder(tenancy.operator):
        await tenancy.issuers.RemoveIssuer(pb.RemoveIssuerRequest(issuer_id=registered.issuer_id))
        events = (await tenancy.audit.ListAuditEvents(audit_pb.ListAuditEventsRequest(tenant="acme"))).events
    assert [(one.action, one.subject) for one in events[:2]] == [
        ("RemoveIssuer", registered.issuer_id),
        ("RegisterIssuer", registered.issuer_id),
    ]


async def test_a_tenant_that_is_going_registers_nothing(tenancy: World, acmes: Issuer) -> None:
    async with tenancy.as_holder(tenancy.operator):
        await tenancy.tenants.DeleteTenant(tenant_pb.DeleteTenantRequest(tenant="acme"))
    with pytest.raises(FailedPrecondition):
        await register(tenancy, acmes)
