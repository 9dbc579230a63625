"""Mutual TLS between processes, over real sockets: who is who, and certificates that are replaced while calls run."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from grpc import aio

from tenantry.kit import call, caller, secure
from tenantry.kit.certificate import CertificateFiles
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.peer import host_name
from tests.harness.echo import Acts
from tests.harness.poll import until
from tests.harness.protos import echo_pb2 as pb
from tests.harness.protos.echo_pb2_grpc import EchoServiceStub
from tests.harness.room import Served
from tests.harness.tls import Certificates
from tests.harness.tls_echo import echoing, who


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "tls", ["echo", "lobby", "gateway", "insight"])


@asynccontextmanager
async def service(name: str, certificates: Certificates) -> AsyncIterator[CertificateFiles]:
    """The certificate of a calling service, kept fresh as its host does."""
    files = CertificateFiles(certificates.folder, name, SystemClock())
    fresh = asyncio.create_task(files.keep_fresh())
    yield files
    fresh.cancel()
    await asyncio.gather(fresh, return_exceptions=True)


def stub_of(room: Served, name: str, files: CertificateFiles) -> Any:
    return EchoServiceStub(room.channel("echo", service=name, certificate=files.current))


def shown_by(address: str, host: str, certificates: Certificates) -> x509.Certificate:
    """The certificate that a listener shows to who asks for this host."""
    context = ssl.create_default_context(cadata=certificates.ca.certificate.decode())
    folder = certificates.folder
    context.load_cert_chain(folder / "gateway.pem", folder / "gateway.key")
    name, _, port = address.rpartition(":")
    with (
        socket.create_connection((name, int(port)), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=host_name(host)) as wrapped,
    ):
        found = wrapped.getpeercert(binary_form=True)
    assert found is not None
    return x509.load_der_x509_certificate(found)


async def test_a_service_is_who_its_certificate_says(tmp_path: Path, certificates: Certificates) -> None:
    async with echoing(tmp_path, certificates) as room:
        for name in ("gateway", "insight"):
            async with service(name, certificates) as files:
                assert (await stub_of(room, name, files).Gossip(pb.EchoRequest())).text == name


async def test_services_of_one_process_show_a_certificate_each(tmp_path: Path, certificates: Certificates) -> None:
    async with echoing(tmp_path, certificates) as room:
        for name in ("echo", "lobby"):
            found = await asyncio.to_thread(shown_by, room.host.mesh, name, certificates)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert names.get_values_for_type(x509.DNSName) == [host_name(name)]


async def test_a_service_of_the_same_process_is_itself_without_any_token(
    tmp_path: Path, certificates: Certificates
) -> None:
    meshes: list[Mesh] = []
    async with echoing(tmp_path, certificates, lobby=meshes.append) as room:
        stub: Any = EchoServiceStub(meshes[0].channel("echo"))
        assert meshes[0].token() == "" and room.host.registry.hosts("echo")
        assert (await stub.Gossip(pb.EchoRequest())).text == "lobby"
        # What the edge forwards has no service's rights, here too.
        sent = meshes[0].transport("echo").unary_unary("/tenantry.api.echo.v1.EchoService/Gossip")
        with pytest.raises(aio.AioRpcError, match="for services of the mesh"):
            await sent(b"", metadata=((call.FORWARDED, "1"),))


async def test_a_service_joins_a_trace_by_its_certificate(tmp_path: Path, certificates: Certificates) -> None:
    seen: list[str] = []

    async def once(request: Any, context: Any) -> Any:
        from opentelemetry import trace

        seen.append(format(trace.get_current_span().get_span_context().trace_id, "032x"))
        return await who(request, context)

    async with echoing(tmp_path, certificates, Acts(once)) as room, service("gateway", certificates) as files:
        mesh = Mesh("gateway", _Only(room.host.mesh), _Nothing(), lambda: "", SystemClock(), certificate=files.current)
        sent = mesh.transport("echo").unary_unary("/tenantry.api.echo.v1.EchoService/Gossip")
        await sent(b"", metadata=((call.TRACEPARENT, f"00-{'ab' * 16}-{'cd' * 8}-01"),))
        await mesh.close()
    assert seen == ["ab" * 16]


async def test_replaced_files_are_taken_by_both_ends_while_calls_run_and_none_is_refused(
    tmp_path: Path, certificates: Certificates
) -> None:
    shown: set[bytes] = set()
    more, ends = asyncio.Event(), asyncio.Event()

    async def once(request: Any, context: Any) -> Any:
        shown.update(context.auth_context()["x509_pem_cert"])
        return await who(request, context)

    async def many(request: Any, context: Any) -> AsyncIterator[Any]:
        yield pb.EchoResponse(text="first")
        await more.wait()
        yield pb.EchoResponse(text=caller.identity() or "")

    async with echoing(tmp_path, certificates, Acts(once, many)) as room, service("gateway", certificates) as files:
        stub = stub_of(room, "gateway", files)
        stream = stub.Feed(pb.EchoRequest(), timeout=60)
        assert (await anext(aiter(stream))).text == "first"

        async def calling() -> int:
            calls = 0
            while not ends.is_set():
                assert (await stub.Settle(pb.EchoRequest(), timeout=5)).text == "gateway"
                calls += 1
            return calls

        callers = [asyncio.create_task(calling()) for _ in range(8)]
        for _ in range(2):
            new = certificates.put("gateway").chain.strip()
            server = x509.load_pem_x509_certificate(certificates.put("echo").chain)
            await until(lambda new=new: new in {one.strip() for one in shown}, 10, what="the client shows the new one")
            await until(shows(room, server, certificates), 10, what="the server shows the new one")
        ends.set()
        assert min(await asyncio.gather(*callers)) > 0
        more.set()
        assert [one.text async for one in stream] == ["gateway"]
    assert len(shown) == 3


def shows(room: Served, server: x509.Certificate, certificates: Certificates) -> Callable[[], Any]:
    async def asked() -> bool:
        return await asyncio.to_thread(shown_by, room.host.mesh, "echo", certificates) == server

    return asked


async def test_files_that_do_not_fit_leave_the_old_certificate(
    tmp_path: Path, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    async with echoing(tmp_path, certificates) as room, service("gateway", certificates) as files:
        old = files.current()
        (certificates.folder / "gateway.key").write_bytes(certificates.made("gateway").key)
        await until(lambda: "the old certificate goes on" in caplog.text, 10)
        assert files.current() is old
        assert (await stub_of(room, "gateway", files).Gossip(pb.EchoRequest())).text == "gateway"


async def test_who_stays_connected_must_show_a_certificate_again(
    tmp_path: Path, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secure, "LISTENER_OPTIONS", [("grpc.max_connection_age_ms", 200)])
    shown = certificates.made("gateway")
    async with echoing(tmp_path, certificates) as room:
        stub: Any = EchoServiceStub(room.channel("echo", service="gateway", certificate=lambda: shown))
        await stub.Gossip(pb.EchoRequest())
        # Another CA for the listener, which the caller's certificate is not of.
        other = Certificates(tmp_path / "other", ["echo", "lobby"])
        for path in other.folder.iterdir():
            path.replace(certificates.folder / path.name)

        async def refused() -> bool:
            try:
                await stub.Settle(pb.EchoRequest(), timeout=2)
            except Exception:
                return True
            return False

        await until(refused, 10, 0.1, "the caller is refused")


class _Only:
    """Settings that know one address."""

    max_message_bytes = 1024

    def __init__(self, address: str) -> None:
        self.addresses = {"echo": address}


class _Nothing:
    """A process that hosts nothing."""

    def hosts(self, name: str) -> bool:
        return False

    def handlers(self, name: str) -> None:
        return None
