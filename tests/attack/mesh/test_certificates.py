"""Getting into a mesh that has TLS: without a certificate, with a wrong one, with a token, or in a service's place."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from grpc import aio

from tenantry.kit import call
from tenantry.kit.certificate import Certificate
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import Unavailable
from tenantry.kit.server import Registry
from tests.attack.mesh.contracts import outcome_of
from tests.harness.echo import Acts, mesh_of
from tests.harness.poll import until
from tests.harness.protos import echo_pb2 as pb
from tests.harness.protos.echo_pb2_grpc import EchoServiceStub
from tests.harness.room import Served, caller_of, service_token
from tests.harness.tls import Certificates, aio_channel, long_ago
from tests.harness.tls_echo import SERVICE, echoing, who

NO_IDENTITY = ("UNAUTHENTICATED", "SERVICE_IDENTITY_INVALID")
NOT_THEM = ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")
# What a client hears whose handshake is refused: it never came to a service.
NOT_IN = ("UNAVAILABLE", "")


class Target:
    """A service with TLS, and whether anybody got as far as its handlers."""

    def __init__(self, room: Served, certificates: Certificates, reached: list[str]) -> None:
        self.room = room
        self.certificates = certificates
        self.reached = reached

    @property
    def address(self) -> str:
        return self.room.host.mesh

    async def hears(self, channel: aio.Channel, method: str = "Gossip", *metadata: tuple[str, str]) -> tuple[str, str]:
        """Code and reason that a raw client gets."""
        async with channel:
            try:
                await channel.unary_unary(SERVICE + method)(b"", metadata=metadata, timeout=10)
            except aio.AioRpcError as error:
                return outcome_of(error)
        return "OK", ""

    def as_(self, shown: Certificate, **how: Any) -> aio.Channel:
        return aio_channel(self.address, "echo", shown, **how)

    def token(self, name: str) -> tuple[str, str]:
        """A service token that is true, as one that leaked would be."""
        return call.SERVICE, service_token(self.room.key, name)


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[Target]:
    reached: list[str] = []

    async def once(request: Any, context: Any) -> Any:
        answer = await who(request, context)
        reached.append(answer.text)
        return answer

    certificates = Certificates(tmp_path / "tls", ["echo", "lobby"])
    async with echoing(tmp_path, certificates, Acts(once)) as room:
        yield Target(room, certificates, reached)


async def test_a_service_with_its_certificate_gets_in(target: Target) -> None:
    """What the attacks below are told apart by."""
    assert await target.hears(target.as_(target.certificates.made("gateway")), "Settle") == ("OK", "")
    assert target.reached == ["gateway"]


async def test_a_plaintext_connection_with_a_true_token(target: Target) -> None:
    heard = await target.hears(aio.insecure_channel(target.address), "Gossip", target.token("gateway"))
    assert heard == NOT_IN and not target.reached


async def test_a_true_token_without_a_certificate(target: Target) -> None:
    nameless = target.as_(target.certificates.made("gateway"), nameless=True)
    assert await target.hears(nameless, "Gossip", target.token("gateway")) == NOT_IN and not target.reached


async def test_no_certificate_ends_the_handshake(target: Target) -> None:
    context = ssl.create_default_context(cadata=target.certificates.ca.certificate.decode())
    context.check_hostname = False
    host, _, port = target.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        # With TLS 1.3 the client hears of it with the first thing that it reads.
        while await reader.read(1024):
            pass
        raise ConnectionResetError
    writer.close()


async def test_a_certificate_of_another_ca(target: Target, tmp_path: Path) -> None:
    stranger = Certificates(tmp_path / "stranger").made("gateway")
    heard = await target.hears(target.as_(stranger, authorities=target.certificates.ca.certificate))
    assert heard == NOT_IN and not target.reached


async def test_a_certificate_that_a_service_signed_with_its_own(target: Target) -> None:
    # A service's certificate is no CA, though its key can sign.
    inner = target.certificates.made("insight")
    forged = _signed_by(inner)
    heard = await target.hears(target.as_(forged, authorities=target.certificates.ca.certificate))
    assert heard == NOT_IN and not target.reached


async def test_an_expired_certificate(target: Target) -> None:
    ended = target.certificates.made("gateway", ends=long_ago())
    assert await target.hears(target.as_(ended)) == NOT_IN and not target.reached


async def test_a_connection_that_outlives_its_certificate(target: Target) -> None:
    brief = target.certificates.made("gateway", ends=datetime.now(UTC) + timedelta(seconds=2))
    async with target.as_(brief) as channel:
        settle = channel.unary_unary(SERVICE + "Settle")
        await settle(b"", timeout=10)

        async def refused() -> bool:
            try:
                await settle(b"", timeout=10)
            except aio.AioRpcError as error:
                assert outcome_of(error) == NO_IDENTITY
                return True
            return False

        await until(refused, 10, 0.1, "the connection serves no more")


@pytest.mark.parametrize("method", ["Settle", "Assist"])
async def test_another_services_certificate_for_an_rpc_that_is_not_for_it(target: Target, method: str) -> None:
    insight = target.certificates.made("insight")
    assert await target.hears(target.as_(insight), method) == NOT_THEM
    # A token that leaked does not help it either.
    assert await target.hears(target.as_(insight), method, target.token("gateway")) == NOT_THEM
    assert not target.reached


@pytest.mark.parametrize("uri", ["spiffe://tenantry/probe", "spiffe://evil/service/gateway", "https://gateway/"])
async def test_a_certificate_that_names_no_service(target: Target, uri: str) -> None:
    odd = target.certificates.made("gateway", uri=uri)
    for method in ("Gossip", "Echo"):
        assert await target.hears(target.as_(odd), method, target.token("gateway")) == NO_IDENTITY
    assert not target.reached


async def test_rights_of_a_service_borrowed_through_the_edge(target: Target) -> None:
    gateway = target.as_(target.certificates.made("gateway"))
    assert await target.hears(gateway, "Gossip", (call.FORWARDED, "1")) == NO_IDENTITY
    assert not target.reached


async def test_a_service_in_the_place_of_another(target: Target) -> None:
    """Whoever holds `lobby`'s certificate listens where `quota` is looked for: the caller does not speak to it."""
    shown = target.certificates.made("gateway")
    mesh = Mesh(
        "gateway", mesh_of({"quota": target.address}), Registry(), lambda: "", SystemClock(), certificate=lambda: shown
    )
    stub: Any = EchoServiceStub(mesh.channel("quota"))
    with target.room.calling(caller_of(scopes={"generate"})), pytest.raises(Unavailable):
        await stub.Settle(pb.EchoRequest(text="a secret"), timeout=5)
    await mesh.close()
    assert not target.reached


async def test_a_listener_without_tls_in_the_place_of_a_service(target: Target) -> None:
    received: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.read(1 << 16))
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    shown = target.certificates.made("gateway")
    settings = mesh_of({"echo": f"127.0.0.1:{port}"})
    mesh = Mesh("gateway", settings, Registry(), lambda: "", SystemClock(), certificate=lambda: shown)
    stub: Any = EchoServiceStub(mesh.channel("echo"))
    with target.room.calling(caller_of(scopes={"generate"})), pytest.raises(Unavailable):
        await stub.Settle(pb.EchoRequest(text="a secret"), timeout=5)
    await mesh.close()
    server.close()
    # A hello of TLS, and nothing of the call: no assertion, no message.
    assert received and all(b"a secret" not in one and b"tenantry-assertion" not in one for one in received)


def _signed_by(holder: Certificate) -> Certificate:
    """The gateway's name, signed with the key of somebody whose certificate is true, and that certificate beside it."""
    signer: Any = load_pem_private_key(holder.key, None)
    issuer = x509.load_pem_x509_certificate(holder.chain)
    private = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    forged = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://tenantry/service/gateway")]), True
        )
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False)
        .sign(signer, hashes.SHA256())
    )
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(forged.public_bytes(Encoding.PEM) + holder.chain, key, holder.authorities)
