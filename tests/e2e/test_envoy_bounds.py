"""What Envoy's bounds do, on a real Envoy whose bounds are small: docs/EDGE.md says the true ones."""

import contextlib
import selectors
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tenantry.cli.envoy.settings import Bounds
from tenantry.kit.errors import DeadlineExceeded, Reason, ResourceExhausted, TenantryError
from tenantry.kit.status import to_status
from tests.e2e.test_envoy import LIST_PROMPTS, Refusal, bearer, heard, refusal, refusal_of
from tests.harness import http2
from tests.harness.endless import endless
from tests.harness.envoy import Envoy, envoy_beside
from tests.harness.mesh import RunningMesh, TenantKeys, running_mesh
from tests.harness.poll import until

_DOCUMENTS = "/tenantry.api.retrieval.v1.DocumentService/"
LIST, UPLOAD = f"{_DOCUMENTS}ListDocuments", f"{_DOCUMENTS}UpsertDocuments"


@dataclass(frozen=True, slots=True)
class Front:
    """Envoy before a mesh whose retrieval answers nothing, but begins an upload's answer; and a tenant."""

    envoy: Envoy
    channel: Any
    own: TenantKeys

    def refusal(self, path: str) -> Refusal | None:
        return refusal(self.channel, path, b"", bearer(self.own.key))

    def call(self, path: str, messages: Iterator[bytes]) -> Any:
        """A call that sends these; its answers."""
        return self.channel.stream_stream(path)(messages, metadata=tuple(bearer(self.own.key)), timeout=20)

    def status_by_json(self, path: str) -> int:
        headers = {"Authorization": f"Bearer {self.own.key}"}
        return httpx.post(f"http://{self.envoy.http}{path}", json={}, headers=headers, timeout=20).status_code


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """A mesh before which each test puts an Envoy of its own."""
    with running_mesh("cohosted", tmp_path_factory.mktemp("bare"), envoy=False) as mesh:
        yield mesh


@contextlib.contextmanager
def front(mesh: RunningMesh, state: Path, bounds: Bounds) -> Iterator[Front]:
    with (
        endless("retrieval", UPLOAD) as retrieval,
        envoy_beside(mesh, state, bounds, TENANTRY_RETRIEVAL_ADDRESS=retrieval) as envoy,
        grpc.insecure_channel(envoy.grpc) as channel,
    ):
        yield Front(envoy, channel, mesh.tenant())


def ours(error: TenantryError) -> Refusal:
    """What a client hears of it, with the request's id."""
    return refusal_of(to_status(error), error.code, identified=True)


async def test_a_call_more_than_a_service_takes_is_refused_and_other_services_go_on(
    bare: RunningMesh, tmp_path: Path
) -> None:
    with front(bare, tmp_path / "envoy", Bounds(calls_a_service=4)) as before:
        uploads = [before.call(UPLOAD, iter([])) for _ in range(4)]
        for upload in uploads:
            next(upload)
        busy = ResourceExhausted(Reason.SERVER_BUSY, "the server has too many calls", retry_after_s=1.0)
        assert before.refusal(LIST) == ours(busy)
        assert before.status_by_json(LIST) == 429
        assert before.refusal(LIST_PROMPTS) is None
        uploads.pop().cancel()

        def is_taken() -> bool:
            uploads.append(before.call(UPLOAD, iter([])))
            return is_begun(uploads[-1])

        await until(is_taken, what="a call in the place of one that ended")
        for upload in uploads:
            upload.cancel()


def messages_every(seconds: float) -> Iterator[bytes]:
    """Without end."""
    while True:
        yield b""
        time.sleep(seconds)


def is_begun(call: Any) -> bool:
    with contextlib.suppress(grpc.RpcError):
        next(call)
        return True
    return False


def test_a_call_that_its_service_does_not_end_is_ended_whether_its_client_is_silent_or_talks(
    bare: RunningMesh, tmp_path: Path
) -> None:
    bounds = Bounds(longest_s=1, late_s=1)
    late = ours(DeadlineExceeded())
    with front(bare, tmp_path / "envoy", bounds) as before:
        assert before.refusal(LIST) == late
        assert before.status_by_json(LIST) == 504
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as ended:
            next(before.call(LIST, messages_every(0.2)))
        assert heard(ended.value) == late
        # Envoy's timers count milliseconds, and from when it last looked at the clock.
        assert time.monotonic() - started >= bounds.longest_s + bounds.late_s - 0.05
        # An answer that has begun can't be taken back.
        begun = before.call(UPLOAD, iter([]))
        next(begun)
        with pytest.raises(grpc.RpcError) as cut:
            next(begun)
        assert heard(cut.value).code == "INTERNAL"


async def test_a_connection_more_than_it_takes_is_closed_and_the_others_go_on(
    bare: RunningMesh, tmp_path: Path
) -> None:
    with front(bare, tmp_path / "envoy", Bounds(connections=8)) as before:
        assert before.refusal(LIST_PROMPTS) is None
        with contextlib.ExitStack() as idle, selectors.DefaultSelector() as closed:
            for _ in range(8):  # with the channel's, one too many; its threads take them in any order
                closed.register(idle.enter_context(http2.connect(before.envoy.grpc)), selectors.EVENT_READ)
            await until(lambda: len(closed.select(0)) == 1, what="one connection's end")
            assert before.refusal(LIST_PROMPTS) is None
            assert len(closed.select(0)) == 1
