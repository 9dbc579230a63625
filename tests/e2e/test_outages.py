"""Stores that go away and processes that are killed, under load: what was acknowledged is there afterwards."""

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.kit.settings import SERVICES
from tenantry.kit.status import from_rpc_error
from tests.e2e.conftest import Client, client_of
from tests.harness.mesh import RunningMesh, Topology, running_mesh, stub_of
from tests.harness.poll import until

SHOP = {"hours": "# Hours\n\nThe shop opens at nine o'clock in the morning."}
WORKERS = 3
# What may be heard while something is away or comes back: never a wrong answer, never a hang.
OUTAGE = {"UNAVAILABLE", "DEADLINE_EXCEEDED"}


@dataclass
class Load:
    """What a load did: acknowledged requests, documents, prompts and keys, and how others were refused."""

    answered: list[str] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    refused: list[tuple[str, str, bool]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


@contextmanager
def loaded(client: Client, *, writes: bool = False) -> Iterator[Load]:
    """Asks (and with `writes` stores things) in several threads while the block runs."""
    load, stop = Load(), threading.Event()
    threads = [threading.Thread(target=_Worker(client, load).work, args=(stop, writes)) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


class _Worker:
    """One thread's steps."""

    def __init__(self, client: Client, load: Load) -> None:
        channel = client.mesh.channel(client.keys.key)
        self._load = load
        self._gateway, self._documents = stub_of(GatewayServiceStub, channel), stub_of(DocumentServiceStub, channel)
        self._prompts, self._keys = stub_of(PromptServiceStub, channel), stub_of(KeyServiceStub, channel)

    def work(self, stop: threading.Event, writes: bool) -> None:
        steps = [self.ask]
        if writes:
            steps = [self.ask, self.write_document, self.ask, self.write_prompt, self.ask, self.write_key]
        while not stop.is_set():
            for step in steps:
                try:
                    step()
                except grpc.RpcError as error:
                    failure: Any = error
                    refused = from_rpc_error(failure, "")
                    hinted = bool(getattr(refused, "retry_after_s", None))
                    self._load.refused.append((refused.code, refused.reason.value, hinted))
                    time.sleep(0.05)

    def ask(self) -> None:
        query = pb.GenerationQuery(question="When does the shop open?", cache=pb.CACHE_USE_OFF)
        answer = self._gateway.GenerateContent(pb.GenerateContentRequest(query=query), timeout=10)
        if "nine o'clock" not in answer.text:
            self._load.wrong.append(answer.text)
        self._load.answered.append(answer.summary.request_id)

    def write_document(self) -> None:
        name = f"d-{secrets.token_hex(6)}"
        request = document_pb.UpsertDocumentsRequest(document=name, text=f"Note {name}.".encode())
        for answer in self._documents.UpsertDocuments(iter([request]), timeout=10):
            if answer.outcome == document_pb.UPSERT_OUTCOME_CREATED:
                self._load.documents.append(name)

    def write_prompt(self) -> None:
        name = f"p-{secrets.token_hex(6)}"
        source = prompt_pb.PromptSource(user="{{ question }}")
        self._prompts.CreatePrompt(prompt_pb.CreatePromptRequest(prompt=name, source=source), timeout=10)
        self._load.prompts.append(name)

    def write_key(self) -> None:
        request = key_pb.CreateApiKeyRequest(scopes=["documents.read"])
        self._load.keys.append(self._keys.CreateApiKey(request, timeout=10).secret)


async def in_the_ledger(client: Client, request_ids: list[str], *, killed: int = 0) -> None:
    """Waits until every acknowledged request has its entry, and one only.

    A gateway settles after it has answered. What one that is `killed` had answered and not settled ends with its hold,
    which, if it was never renewed, costs nothing: at most one request of each worker.
    """
    stub = stub_of(UsageServiceStub, client.mesh.channel(client.keys.key))
    missing = set(request_ids)

    def enough() -> bool:
        for one in sorted(missing):
            try:
                found = stub.ListUsageRecords(usage_pb.ListUsageRecordsRequest(request_id=one), timeout=10).records
            except grpc.RpcError:
                return False
            assert len(found) <= 1, found
            missing.difference_update([one] if found else [])
        return len(missing) <= killed * WORKERS

    await until(enough, within_s=60, every_s=0.5, what=f"the {len(request_ids)} entries in the ledger")


async def answers_again(load: Load) -> None:
    """Waits until the load is answered again."""
    seen = len(load.answered)
    try:
        await until(lambda: len(load.answered) >= seen + 5, within_s=60, every_s=0.1)
    except AssertionError:
        raise AssertionError(f"no answers within 60 s; the last refusals: {load.refused[-5:]}") from None


@pytest.mark.timeout(240)
@pytest.mark.parametrize("topology", ["cohosted", "processes"])
async def test_redis_stopped_and_started_again_under_load(tmp_path: Path, topology: Topology) -> None:
    with running_mesh(topology, tmp_path / "state") as mesh:
        assert mesh.books is not None and mesh.cache is not None
        client = client_of(mesh, "outage", SHOP)
        with loaded(client) as load:
            await answers_again(load)
            # The cache away is no error: answers are made as if there was none.
            before = len(load.refused)
            mesh.cache.stop()
            await answers_again(load)
            assert load.refused[before:] == []
            client.ask("When does the shop open?")
            mesh.cache.start()
            await answers_again(load)
            # The books away: quota gives its share of the limits alone; who is refused hears when to try again.
            seen = len(load.refused)
            mesh.books.stop()
            await answers_again(load)
            await answers_again(load)
            mesh.books.start()
            await answers_again(load)
            refused = load.refused[seen:]
            answered = list(load.answered)
        assert not load.wrong
        assert {code for code, _, _ in refused} <= OUTAGE, set(refused)
        assert all(hinted for code, _, hinted in refused if code == "UNAVAILABLE"), set(refused)
        await in_the_ledger(client, answered)
        await until(lambda: client.ask("When does the shop open?").summary.usage.cache_hit, within_s=15, every_s=0.2)


@pytest.mark.timeout(300)
async def test_each_process_killed_under_load_and_started_again(tmp_path: Path) -> None:
    with running_mesh("processes", tmp_path / "state") as mesh:
        client = client_of(mesh, "killed", SHOP)
        with loaded(client, writes=True) as load:
            for service in SERVICES:
                await answers_again(load)
                mesh.kill(service)
                mesh.start(service)
                mesh.wait_ready()
            await answers_again(load)
        _check(client, load)
        await in_the_ledger(client, load.answered, killed=1)


@pytest.mark.timeout(180)
async def test_the_one_process_killed_under_load_and_started_again(tmp_path: Path) -> None:
    with running_mesh("cohosted", tmp_path / "state") as mesh:
        client = client_of(mesh, "killed", SHOP)
        with loaded(client, writes=True) as load:
            for _ in range(2):
                await answers_again(load)
                mesh.kill("all")
                mesh.start("all")
                mesh.wait_ready()
            await answers_again(load)
        _check(client, load)
        await in_the_ledger(client, load.answered, killed=2)


def _check(client: Client, load: Load) -> None:
    """What was acknowledged is there, and refusals were those of an outage."""
    mesh: RunningMesh = client.mesh
    assert not load.wrong and load.documents and load.prompts and load.keys
    assert {code for code, _, _ in load.refused} <= OUTAGE, sorted(set(load.refused))
    channel = mesh.channel(client.keys.key)
    listed: set[str] = set()
    request = document_pb.ListDocumentsRequest()
    while True:
        page = stub_of(DocumentServiceStub, channel).ListDocuments(request)
        listed |= {one.document for one in page.documents}
        if not page.page.next_token:
            break
        request.page.token = page.page.next_token
    assert set(load.documents) <= listed
    prompts = stub_of(PromptServiceStub, channel)
    for name in load.prompts:
        prompts.GetPrompt(prompt_pb.GetPromptRequest(prompt=name))
    for key in load.keys:
        stub_of(DocumentServiceStub, mesh.channel(key)).ListDocuments(document_pb.ListDocumentsRequest())
