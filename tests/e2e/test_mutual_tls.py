"""Eight processes that speak TLS to each other: the main job, and who may call what by certificate alone."""

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.kit import call
from tenantry.kit.access import EDGE
from tenantry.kit.certificate import Certificate, read
from tenantry.kit.peer import PROBE
from tenantry.kit.settings import SERVICES
from tests.attack.mesh.contracts import request_for, rpcs, send
from tests.attack.mesh.test_access_matrix import ADMITTED, REFUSALS, inside
from tests.e2e.conftest import Client, client_of, documents_of
from tests.functional.cli.command import Command
from tests.harness import tls
from tests.harness.envoy import envoy_beside
from tests.harness.mesh import RunningMesh, running_mesh, stub_of
from tests.harness.poll import until
from tests.harness.tls import Certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"), (*SERVICES, EDGE, PROBE))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[RunningMesh]:
    """A mesh of eight processes with certificates."""
    state = tmp_path_factory.mktemp("tls") / "state"
    with running_mesh("processes", state, TENANTRY_TLS=str(certificates.folder)) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def acme(secured: RunningMesh) -> Client:
    return client_of(secured, "acme", documents_of("acme"))


def shown(mesh: RunningMesh, name: str) -> Certificate:
    return read(Path(mesh.environment["TENANTRY_TLS"]), name)


@pytest.mark.timeout(240)
def test_a_question_is_answered_by_eight_processes_that_speak_tls(secured: RunningMesh, acme: Client) -> None:
    assert "45 days" in acme.ask("How long is the refund period?").text
    # Nothing told of a token, which no service has read.
    assert not [line for line in secured.logs().splitlines() if '"level": "ERROR"' in line]


def test_an_rpc_called_by_each_service_with_its_certificate_alone(secured: RunningMesh, acme: Client) -> None:
    wrong: list[str] = []
    for name in (*SERVICES, EDGE):
        channels: dict[str, grpc.Channel] = {}
        for rpc in rpcs():
            if rpc.access.audience != "mesh":
                continue
            if rpc.service not in channels:
                address = secured.addresses[rpc.service]
                channels[rpc.service] = tls.channel(address, rpc.service, shown(secured, name))
            heard = send(channels[rpc.service], rpc, request_for(rpc, "", acme.keys.key), [(call.TARGET, rpc.service)])
            # Who passes on what others send has no rights where it is not named.
            expected = inside(rpc, name if name != EDGE or EDGE in rpc.access.services else None, None)
            if heard in REFUSALS if expected == ADMITTED else heard != expected:
                wrong.append(f"{rpc} told {name} {heard}, not {expected}")
        for channel in channels.values():
            channel.close()
    assert not wrong


def test_every_services_own_address_refuses_plaintext_and_a_true_token(secured: RunningMesh) -> None:
    token = (secured.state / "tokens" / "gateway.token").read_text().strip()
    for rpc in {one.service: one for one in rpcs()}.values():
        with grpc.insecure_channel(secured.addresses[rpc.service]) as channel:
            heard = send(channel, rpc, b"", [(call.SERVICE, token), (call.TARGET, rpc.service)])
        assert heard == ("UNAVAILABLE", ""), rpc


async def test_a_question_is_answered_through_envoy_which_shows_a_certificate_and_takes_the_newest(
    secured: RunningMesh, certificates: Certificates, acme: Client, tmp_path: Path
) -> None:
    question = pb.GenerateContentRequest(query=pb.GenerationQuery(question="How long is the refund period?"))
    bearer = (("authorization", f"Bearer {acme.keys.key}"),)
    # There is no token that it could show.
    with envoy_beside(secured, tmp_path / "edge", TENANTRY_TOKENS=str(tmp_path)) as front:
        for _ in range(2):
            with grpc.insecure_channel(front.grpc) as channel:
                answer = stub_of(GatewayServiceStub, channel).GenerateContent(question, metadata=bearer, timeout=30)
            assert "45 days" in answer.text
            serial = x509.load_pem_x509_certificate(certificates.put(EDGE).chain).serial_number
            await until(lambda serial=serial: f"{serial:x}" in front.admin("/certs"), 20, 0.1, "Envoy has the new one")


def test_doctor_finds_all_well(secured: RunningMesh, tmp_path: Path) -> None:
    done = Command({**os.environ, **secured.environment}, tmp_path)("doctor")
    ill = [one for one in done.lines() if not one["well"]]
    # The harness's own files are no concern of an operator's.
    assert not [one for one in ill if not one["what"].startswith("certificates in")], ill
