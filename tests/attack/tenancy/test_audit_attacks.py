"""What somebody may try against the audit logs: read another's, write into another's, fill them, say a thing twice."""

from typing import Any

import pytest

from tenantry.api.tenancy.v1 import audit_service_pb2 as pb
from tenantry.api.tenancy.v1.audit_service_pb2_grpc import AuditServiceStub
from tenantry.kit import call
from tenantry.kit.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from tenantry.tenancy.roles import ORGANISATION_ADMIN, ROLES
from tests.attack.tenancy.conftest import Victims
from tests.functional.tenancy.world import World
from tests.harness.poll import until

CHANGE: dict[str, Any] = {"tenant": "acme", "organisation": "acme-org", "principal": "key_1", "count": 1}


def _request(action: str = "UpdatePrompt", outcome: str = "OK", **more: Any) -> pb.RecordAuditEventsRequest:
    fields: dict[str, Any] = {"record": "change_1", "action": action, "outcome": outcome, **CHANGE, **more}
    record = pb.AuditRecord(**fields)
    return pb.RecordAuditEventsRequest(records=[record])


def _stub(world: World, service: str = "") -> Any:
    return AuditServiceStub(world.channel(service))


async def _log(world: World, secret: str, tenant: str = "") -> list[pb.AuditEvent]:
    async with world.as_holder(secret):
        answer = await world.audit.ListAuditEvents(pb.ListAuditEventsRequest(tenant=tenant, from_number=1))
    return list(answer.events)


async def test_another_tenants_audit_log_read(victims: Victims) -> None:
    organisation = await victims.world.key(organisation="acme-org", scopes=ROLES[ORGANISATION_ADMIN])
    for secret in (victims.acme[1], organisation[1]):
        async with victims.world.as_holder(secret):
            for tenant in ("globex", "nobody"):
                for number in (0, 1, 5):
                    request = pb.ListAuditEventsRequest(tenant=tenant, from_number=number)
                    with pytest.raises(NotFound) as refused:
                        await victims.world.audit.ListAuditEvents(request)
                    assert refused.value.message == "there is no such tenant"
    assert await _log(victims.world, organisation[1], "acme")


async def test_a_page_token_of_another_tenants_audit_log(victims: Victims) -> None:
    async with victims.world.as_holder(victims.globex[1]):
        request = pb.ListAuditEventsRequest(from_number=1)
        request.page.size = 1
        token = (await victims.world.audit.ListAuditEvents(request)).page.next_token
    async with victims.world.as_holder(victims.acme[1]):
        request.page.token = token
        answer = await victims.world.audit.ListAuditEvents(request)
    assert answer.head.log == "tenant:acme" and "globex" not in str(answer)


async def test_an_audit_event_recorded_by_an_outsider(victims: Victims) -> None:
    with pytest.raises(Unauthenticated):
        await _stub(victims.world).RecordAuditEvents(_request())
    async with victims.world.as_holder(victims.acme[1]):
        with pytest.raises(Unauthenticated):
            await _stub(victims.world).RecordAuditEvents(_request())


async def test_a_change_forged_by_a_service_that_did_not_make_it(victims: Victims) -> None:
    before = await _log(victims.world, victims.acme[1])
    for service, action in (("cache", "UpdatePrompt"), ("prompts", "RevokeApiKey"), ("gateway", "UpdateQuotaLimits")):
        with pytest.raises(PermissionDenied):
            await _stub(victims.world, service).RecordAuditEvents(_request(action))
    assert await _log(victims.world, victims.acme[1]) == before


async def test_a_refusal_forged_by_a_service_bears_its_name(victims: Victims) -> None:
    await _stub(victims.world, "cache").RecordAuditEvents(_request("CreateApiKey", "PERMISSION_DENIED"))
    forged = (await _log(victims.world, victims.acme[1]))[-1]
    assert (forged.action, forged.service) == ("CreateApiKey", "cache")


async def test_an_event_of_a_service_for_a_tenant_under_another_organisation(victims: Victims) -> None:
    before = await _log(victims.world, victims.acme[1])
    await _stub(victims.world, "prompts").RecordAuditEvents(_request(organisation="globex-org"))
    assert await _log(victims.world, victims.acme[1]) == before
    assert (await _log(victims.world, victims.world.operator))[-1].action == "UpdatePrompt"


async def test_a_batch_of_audit_events_replayed(victims: Victims) -> None:
    stub = _stub(victims.world, "prompts")
    entered = [(await stub.RecordAuditEvents(_request())).entered for _ in range(3)]
    assert entered == [1, 0, 0]
    assert [event.action for event in await _log(victims.world, victims.acme[1])].count("UpdatePrompt") == 1


async def test_lines_and_fields_injected_into_an_audit_log(victims: Victims) -> None:
    evil = 'x\r\n{"number": 1, "action": "CreateApiKey"}\x00\x1b[2J\u202eО'
    await _stub(victims.world, "prompts").RecordAuditEvents(_request(subject=evil, principal=evil * 50))
    event = (await _log(victims.world, victims.acme[1]))[-1]
    for text in (event.subject, event.principal):
        assert len(text) <= 200 and text.isascii() and text.isprintable() and " " not in text
    for odd in ({"record": "a\nb"}, {"action": "Update\nPrompt"}, {"outcome": "OK\n"}, {"reason": "A\nB"}):
        with pytest.raises(InvalidArgument):
            await _stub(victims.world, "prompts").RecordAuditEvents(_request(**odd))
    async with victims.world.as_holder(victims.acme[1]):
        with pytest.raises((InvalidArgument, NotFound)):
            await victims.world.audit.ListAuditEvents(pb.ListAuditEventsRequest(tenant="glo\r\nbex"))
    assert "\n" not in "".join(str(one.subject) for one in await _log(victims.world, victims.acme[1]))


async def test_a_flood_of_refusals_leaves_a_bounded_log(victims: Victims) -> None:
    records = [
        pb.AuditRecord(record=f"r_{number}", action="GetPrompt", outcome="NOT_FOUND", **CHANGE)
        for number in range(1000)
    ]
    for first in range(0, 1000, 100):
        batch = pb.RecordAuditEventsRequest(records=records[first : first + 100])
        await _stub(victims.world, "prompts").RecordAuditEvents(batch)
    refused = [one for one in await _log(victims.world, victims.acme[1]) if one.outcome == "NOT_FOUND"]
    assert len(refused) <= 120  # two minutes, if one began meanwhile
    with pytest.raises(InvalidArgument):
        many = pb.RecordAuditEventsRequest(records=records[:101])
        await _stub(victims.world, "prompts").RecordAuditEvents(many)


async def test_a_stranger_writes_into_no_tenants_log(victims: Victims) -> None:
    """Without a proof nobody is believed to be somebody, whatever he calls himself."""
    before = await _log(victims.world, victims.acme[1])
    honest = await victims.world.call_of(victims.acme[1])
    for number in range(300):
        forged = call.Call(caller=honest.caller, assertion=f"{honest.assertion[:-12]}{number:012}")
        with victims.world.as_caller(forged), pytest.raises(Unauthenticated):
            await victims.world.audit.ListAuditEvents(pb.ListAuditEventsRequest())

    async def told() -> bool:
        return any(one.reason == "CREDENTIAL_INVALID" for one in await _log(victims.world, victims.world.operator))

    await until(told, 10, 0.1)
    refused = [one for one in await _log(victims.world, victims.world.operator) if one.outcome != "OK"]
    assert len(refused) <= 3 and not any(one.principal for one in refused)
    assert await _log(victims.world, victims.acme[1]) == before
