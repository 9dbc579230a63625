"""Envoy and kit's own edge before the same mesh: what a service refuses is refused alike, and Envoy's own refusals are known.

docs/EDGE.md lists those.
"""

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import status_pb2

from tenantry.api.common.v1 import usage_pb2
from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.cli.envoy.settings import Bounds
from tenantry.kit import call
from tenantry.kit.owner import Tenant
from tenantry.kit.status import DETAILS
from tenantry.quota.tiers import CALLS
from tests.attack.mesh.contracts import request_for, rpcs
from tests.e2e.conftest import Client, register
from tests.harness.calls import use_up_now
from tests.harness.envoy import Envoy, edge_token, envoy_beside
from tests.harness.mesh import RunningMesh, TenantKeys, running_mesh, stub_of
from tests.harness.poll import until
from tests.harness.ports import free_port
from tests.harness.provider import ProviderServer, Reply

DOCUMENTS = {"hours": "# Hours\n\nThe shop opens at nine o'clock in the morning."}
GENERATE = "/tenantry.api.gateway.v1.GatewayService/GenerateContent"
LIST_PROMPTS = "/tenantry.api.prompts.v1.PromptService/ListPrompts"
# Admin RPCs that leave something behind when they are admitted: the second door would find it.
CHANGES = (
    "Create",
    "Delete",
    "Update",
    "Upsert",
    "Register",
    "Deregister",
    "Set",
    "Rollback",
    "Revoke",
    "Rotate",
    "Suspend",
)
Metadata = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """All that a client hears, but for error ids and delays, which differ from call to call; and whether it got a request id."""

    code: str
    message: str
    details: tuple[str, ...]
    identified: bool


@dataclass
class Doors:
    """A mesh with both, and a tenant in it."""

    mesh: RunningMesh
    envoy: Envoy
    own: TenantKeys
    channels: dict[str, Any]

    def both(self, path: str, body: bytes, metadata: Metadata) -> tuple[Refusal | None, Refusal | None]:
        """What kit's edge and Envoy answer."""
        kit, envoy = (refusal(self.channels[name], path, body, metadata) for name in ("kit", "envoy"))
        return kit, envoy


def bearer(key: str) -> Metadata:
    return [("authorization", f"Bearer {key}")]


def refusal(channel: Any, path: str, body: bytes, metadata: Metadata, **more: Any) -> Refusal | None:
    """How a call is refused; None when it is not."""
    shape = next((rpc.method for rpc in rpcs() if rpc.path == path), None)
    streams_in, streams_out = (shape.client_streaming, shape.server_streaming) if shape else (False, False)
    kind = f"{'stream' if streams_in else 'unary'}_{'stream' if streams_out else 'unary'}"
    request = iter([body]) if streams_in else body
    try:
        answer = getattr(channel, kind)(path)(request, metadata=tuple(metadata), timeout=20, **more)
        if streams_out:
            next(answer, None)
            answer.cancel()
    except grpc.RpcError as error:
        return heard(error)
    return None


def heard(error: Any) -> Refusal:
    trailing = dict(error.trailing_metadata() or ())
    raw = trailing.get(DETAILS)
    status = status_pb2.Status.FromString(raw) if raw else status_pb2.Status(message=error.details() or "")
    assert not raw or (status.message == error.details() and status.code == error.code().value[0])
    return refusal_of(status, error.code().name, call.REQUEST_ID in trailing)


def refusal_of(status: status_pb2.Status, code: str, identified: bool) -> Refusal:
    details: list[str] = []
    for detail in status.details:
        if detail.type_url.endswith((".RetryInfo", ".RequestInfo")):
            details.append(detail.type_url)
        else:
            details.append(detail.SerializeToString(deterministic=True).hex())
    return Refusal(code, status.message, tuple(details), identified)


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    state = tmp_path_factory.mktemp("doors")
    with running_mesh("cohosted", state / "mesh", envoy=False) as mesh, envoy_beside(mesh, state / "envoy") as envoy:
        options = [("grpc.max_send_message_length", -1)]
        with grpc.insecure_channel(mesh.edge, options) as kit, grpc.insecure_channel(envoy.grpc, options) as front:
            yield Doors(mesh, envoy, mesh.tenant(), {"kit": kit, "envoy": front})


def ask(channel: Any, key: str, *more: tuple[str, str]) -> Any:
    query = pb.GenerationQuery(question="When does the shop open?")
    request = pb.GenerateContentRequest(query=query)
    return stub_of(GatewayServiceStub, channel).GenerateContent.with_call(
        request, metadata=(*bearer(key), *more), timeout=60
    )


def test_a_question_is_answered_through_envoy_by_grpc_and_by_json(doors: Doors) -> None:
    doors.mesh.upload(doors.own.key, DOCUMENTS)
    answer, sent = ask(doors.channels["envoy"], doors.own.key)
    assert "nine o'clock" in answer.text
    assert dict(sent.trailing_metadata())[call.REQUEST_ID] == answer.summary.request_id
    headers = {"Authorization": f"Bearer {doors.own.key}", "Content-Type": "application/json"}
    body = {"query": {"question": "When does the shop open?"}}
    by_json = httpx.post(f"http://{doors.envoy.http}{GENERATE}", json=body, headers=headers)
    assert by_json.status_code == 200 and by_json.json()["text"] == answer.text
    refused = httpx.post(f"http://{doors.envoy.http}{GENERATE}", json=body)
    assert (refused.status_code, refused.json()["code"]) == (401, 16)


def test_a_refusal_of_a_limit_says_in_headers_when_to_come_back_at_both_doors_and_by_json(doors: Doors) -> None:
    limited = doors.mesh.tenant()
    overrides = limit_pb.QuotaLimits(requests_per_minute=1, request_burst=2)
    request = limit_pb.UpdateQuotaLimitsRequest(tenant=limited.tenant, overrides=overrides)
    stub = stub_of(LimitServiceStub, doors.channels["kit"])
    stub.UpdateQuotaLimits(request, metadata=bearer(doors.mesh.operator_key), timeout=20)
    told: list[dict[str, Any]] = []
    for name in ("kit", "envoy"):
        with pytest.raises(grpc.RpcError) as refused:
            for _ in range(3):
                ask(doors.channels[name], limited.key)
        error: Any = refused.value
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        told.append(dict(error.trailing_metadata()))
    headers = {"Authorization": f"Bearer {limited.key}", "Content-Type": "application/json"}
    body = {"query": {"question": "When does the shop open?"}}
    by_json = httpx.post(f"http://{doors.envoy.http}{GENERATE}", json=body, headers=headers)
    assert by_json.status_code == 429
    for found in (*told, by_json.headers):
        assert int(found["retry-after"]) >= 1
        assert (found["x-ratelimit-limit-requests"], found["x-ratelimit-remaining-requests"]) == ("1", "0")
        assert float(found["x-ratelimit-reset-requests"].removesuffix("s")) > 0


def callers(doors: Doors) -> dict[str, Metadata]:
    key = doors.own.key
    return {
        "nobody": [],
        "junk": bearer("tnt_" + "x" * 52),
        "basic": [("authorization", "Basic abc")],
        "doubled": [*bearer(key), *bearer(key)],
        "bare": bearer(doors.mesh.key(doors.own.tenant, ["cache.read"])),
        "tenant": bearer(key),
        "operator": bearer(doors.mesh.operator_key),
    }


def test_every_refusal_of_a_service_is_the_same_with_envoy_and_without(doors: Doors) -> None:
    wrong: list[str] = []
    seen: set[tuple[str, ...]] = set()
    for who, metadata in callers(doors).items():
        for rpc in rpcs():
            body = request_for(rpc, doors.own.tenant, doors.own.key)
            if who in ("tenant", "operator") and rpc.method.name.startswith(
                (*CHANGES, "Watch", "Stream", "Invalidate")
            ):
                body = b""  # what would be done for them is asked for amiss
            kit, envoy = doors.both(rpc.path, body, metadata)
            if not body and kit is None:
                continue  # it was no refusal, and what was done at one door is not to be done at the other
            if rpc.access.audience == "mesh":
                # Where there is nothing there are no details.
                assert kit is not None and envoy is not None
                assert (kit.code, envoy.code, kit.details, envoy.details) == (
                    "UNIMPLEMENTED",
                    "UNIMPLEMENTED",
                    (),
                    (),
                ), rpc
                continue
            if kit is not None:
                seen.add(kit.details)
            if kit != envoy:
                wrong.append(f"{who} at {rpc}: {kit} and {envoy}")
    assert not wrong, "\n".join(wrong[:10])
    assert len(seen) > 10


def refused_queries() -> dict[str, tuple[str, bytes]]:
    query = pb.GenerationQuery
    return {
        "nothing asked": (GENERATE, pb.GenerateContentRequest().SerializeToString()),
        "no such model": (
            GENERATE,
            pb.GenerateContentRequest(query=query(question="?", model="none")).SerializeToString(),
        ),
        "no such prompt": (
            GENERATE,
            pb.GenerateContentRequest(query=query(question="?", prompt="none")).SerializeToString(),
        ),
        "not a message": (GENERATE, b"\xff\xff"),
        "5 MB": (GENERATE, b"\x0a" + b"x" * (5 * 1024 * 1024)),
        "a query in the path": (f"{LIST_PROMPTS}?tenant=other", b""),
    }


@pytest.mark.parametrize("name", refused_queries())
def test_a_wrong_request_is_refused_with_the_same_words(doors: Doors, name: str) -> None:
    path, body = refused_queries()[name]
    kit, envoy = doors.both(path, body, bearer(doors.own.key))
    assert kit is not None and envoy is not None
    if "?" in path:
        assert kit.code == envoy.code == "UNIMPLEMENTED"
    else:
        assert kit == envoy


def test_a_message_above_40_mb_is_refused_by_gRPC_with_envoy_and_without(doors: Doors) -> None:
    for answered in doors.both(GENERATE, b"\x0a" + b"x" * (41 * 1024 * 1024), bearer(doors.own.key)):
        assert answered is not None and answered.code == "RESOURCE_EXHAUSTED"


def test_a_json_message_that_is_too_large_is_refused_with_the_limit(doors: Doors) -> None:
    body = {"query": {"question": "x" * Bounds().json_bytes}}
    headers = {"Authorization": f"Bearer {doors.own.key}"}
    refused = httpx.post(f"http://{doors.envoy.http}{GENERATE}", json=body, headers=headers, timeout=20)
    assert refused.status_code == 400 and refused.json()["code"] == 3, refused.text


@pytest.mark.parametrize("door", ["kit", "envoy"])
async def test_a_clients_deadline_reaches_the_service_as_a_deadline(
    doors: Doors, fake: ProviderServer, door: str
) -> None:
    own = doors.mesh.tenant()
    client = Client(doors.mesh, own, doors.mesh.channel(own.key))
    register(client, fake, "outside")
    fake.reply = Reply("one two three", hang_after=1)
    request = pb.StreamGenerateContentRequest(query=pb.GenerationQuery(question="?", model="outside"))
    asking = stub_of(GatewayServiceStub, doors.channels[door])
    with pytest.raises(grpc.RpcError):
        list(asking.StreamGenerateContent(request, metadata=bearer(own.key), timeout=1.5))
    usage = stub_of(UsageServiceStub, client.channel)

    def outcomes() -> list[int]:
        found = usage.ListUsageRecords(usage_pb.ListUsageRecordsRequest()).records
        return [record.usage.outcome for record in found]

    await until(lambda: bool(outcomes()), within_s=20, every_s=0.2, what="an entry")
    assert outcomes() == [usage_pb2.OUTCOME_DEADLINE]


def test_a_limit_of_calls_that_is_reached_is_told_alike_and_admits_requests_alike(doors: Doors) -> None:
    poor = doors.mesh.tenant(tier="free")
    stub = stub_of(LimitServiceStub, doors.channels["envoy"])

    def available() -> int:
        return stub.GetQuotaUsage(limit_pb.GetQuotaUsageRequest(), metadata=bearer(poor.key)).requests_available

    # Of the requests that ReserveQuota counts each door takes one for a question, and none for other calls.
    before = available()
    for name in ("kit", "envoy"):
        ask(doors.channels[name], poor.key)
    assert before - available() in (1, 2)  # one a second comes back
    assert doors.mesh.books is not None
    use_up_now(doors.mesh.books.url, Tenant(poor.organisation, poor.tenant), CALLS["free"])
    kit, envoy = doors.both(LIST_PROMPTS, b"", bearer(poor.key))
    assert kit == envoy and kit is not None
    assert kit.code == "RESOURCE_EXHAUSTED" and len(kit.details) == 3


@pytest.mark.parametrize(
    ("away", "code"),
    [("tenancy", "UNAVAILABLE"), ("quota", "UNAVAILABLE"), ("prompts", "UNAVAILABLE")],
)
def test_a_service_that_is_away_lets_nobody_in_and_is_named(doors: Doors, tmp_path: Path, away: str, code: str) -> None:
    nowhere = {f"TENANTRY_{away.upper()}_ADDRESS": f"127.0.0.1:{free_port()}"}
    with envoy_beside(doors.mesh, tmp_path / "envoy", **nowhere) as envoy, grpc.insecure_channel(envoy.grpc) as channel:
        found = refusal(channel, LIST_PROMPTS, b"", bearer(doors.own.key))
    assert found is not None and found.identified
    assert (found.code, found.message) == (code, f"the service `{away}` can't be reached")
    assert len(found.details) == 2  # a reason, and when to try again


async def test_its_log_says_whose_which_and_how_long_and_nothing_that_was_sent(doors: Doors) -> None:
    canary = secrets.token_hex(8)
    metadata: Metadata = [*bearer(doors.own.key), ("x-more", canary)]
    refusal(doors.channels["envoy"], LIST_PROMPTS, b"\x0a" + canary.encode(), metadata)
    refusal(doors.channels["envoy"], f"/{canary}/{canary}", canary.encode(), metadata)

    def lines() -> list[str]:
        return [line for line in doors.envoy.log().splitlines() if LIST_PROMPTS in line and doors.own.tenant in line]

    await until(lambda: bool(lines()), within_s=10, what="a line of the log")
    assert '"duration_ms"' in lines()[-1] and '"request_id"' in lines()[-1]
    assert canary not in doors.envoy.log() and doors.own.key not in doors.envoy.log()


async def test_its_service_token_is_taken_anew_when_it_is_renewed(doors: Doors, tmp_path: Path) -> None:
    from tenantry.cli.envoy.process import write_identity
    from tenantry.cli.envoy.settings import Settings

    with envoy_beside(doors.mesh, tmp_path / "envoy") as envoy, grpc.insecure_channel(envoy.grpc) as channel:
        settings = Settings("", "", {}, Path(), envoy.state / "envoy")
        assert refusal(channel, LIST_PROMPTS, b"", bearer(doors.own.key)) is None
        await write_identity(settings, "not-a-token")

        def refused() -> bool:
            return refusal(channel, LIST_PROMPTS, b"", bearer(doors.own.key)) is not None

        await until(refused, within_s=10, what="the new token")
        await write_identity(settings, edge_token(doors.mesh))
        await until(lambda: not refused(), within_s=10, what="the old token")


def test_it_lets_calls_end_when_it_is_told_to_end(doors: Doors, tmp_path: Path) -> None:
    with envoy_beside(doors.mesh, tmp_path / "envoy") as envoy, grpc.insecure_channel(envoy.grpc) as channel:
        watch: Callable[..., Any] = channel.unary_stream("/grpc.health.v1.Health/Watch")
        watching = watch(b"", timeout=60)
        next(watching)
        envoy.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            envoy.process.wait(1)
        watching.cancel()
        assert envoy.process.wait(8) == 0


def test_a_certificate_makes_it_speak_tls(doors: Doors, tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    named = [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost",
        "-keyout",
        str(key),
        "-out",
        str(chain),
    ]
    subprocess.run([*command, *named], check=True, capture_output=True, env=os.environ)
    files = {"TENANTRY_EDGE_CERTIFICATE": str(chain), "TENANTRY_EDGE_PRIVATE_KEY": str(key)}
    with envoy_beside(doors.mesh, tmp_path / "envoy", **files) as envoy:
        trusted = grpc.ssl_channel_credentials(chain.read_bytes())
        address = envoy.grpc.replace("127.0.0.1", "localhost")
        with grpc.secure_channel(address, trusted) as channel:
            assert refusal(channel, LIST_PROMPTS, b"", bearer(doors.own.key)) is None
        with grpc.insecure_channel(envoy.grpc) as plain:
            refused = refusal(plain, LIST_PROMPTS, b"", bearer(doors.own.key))
            assert refused is not None and refused.code == "UNAVAILABLE"
