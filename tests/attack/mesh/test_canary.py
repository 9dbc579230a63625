"""Content in what the mesh writes about its work: a marked text goes through everything, and must be found nowhere."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from tenantry.api.gateway.v1 import gateway_service_pb2 as pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.insight.v1 import trace_service_pb2 as trace_pb
from tenantry.api.insight.v1.trace_service_pb2_grpc import TraceServiceStub
from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tests.attack.mesh.contracts import rpcs
from tests.harness.mesh import RunningMesh, Topology, running_mesh, stub_of
from tests.harness.otlp import Collector, collector
from tests.harness.provider import ProviderServer, Reply, provider

CANARY = "canary7c1f"


@pytest.fixture(scope="module")
def fake() -> Iterator[ProviderServer]:
    """A provider whose errors quote what it was sent."""
    started, stop, found = threading.Event(), asyncio.Event(), []

    async def serve() -> None:
        async with provider() as server:
            found.extend((server, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(10)
    yield found[0]
    found[1].call_soon_threadsafe(stop.set)
    thread.join(10)


class Everything:
    """Marked content through every door, where it is taken and where it is refused; `said` is the words of refusals."""

    def __init__(self, mesh: RunningMesh, fake: ProviderServer) -> None:
        self.said: list[str] = []
        self._mesh, self._fake = mesh, fake
        self._tenant = mesh.tenant()
        self._channel = mesh.channel(self._tenant.key)

    def use(self) -> list[str]:
        parts = (
            self._documents,
            self._prompts,
            self._models,
            self._questions,
            self._providers,
            self._admin,
            self._labels,
        )
        for part in parts:
            part()
        return self.said

    def _call(self, method: Any, request: Any) -> Any:
        try:
            answer = method(request)
            return list(answer) if hasattr(answer, "__next__") else answer
        except grpc.RpcError as error:
            told: Any = error
            self.said.append(f"{told.details()} {list(told.trailing_metadata())!r}")
            return None

    def _documents(self) -> None:
        documents = stub_of(DocumentServiceStub, self._channel)
        text = f"# {CANARY}\n\nThe {CANARY} opens at nine.".encode()
        for sent in (
            document_pb.UpsertDocumentsRequest(document="a", title=CANARY, text=text),
            document_pb.UpsertDocumentsRequest(document="b", text=text + b"\xff\xfe"),
            document_pb.UpsertDocumentsRequest(document=f"{CANARY} /", text=text),
            document_pb.UpsertDocumentsRequest(document="c", text=text * 200_000),
        ):
            for one in self._call(documents.UpsertDocuments, iter([sent])) or ():
                self.said.append(one.description)
        self._call(documents.SearchPassages, document_pb.SearchPassagesRequest(query=f"{CANARY} opens"))
        self._call(documents.DeleteDocument, document_pb.DeleteDocumentRequest(document=f"{CANARY}/x"))

    def _prompts(self) -> None:
        prompts = stub_of(PromptServiceStub, self._channel)
        for name, source in (
            ("ours", prompt_pb.PromptSource(system=f"Be {CANARY}.", user="{{ question }} {{ tone }}")),
            ("broken", prompt_pb.PromptSource(user=f"{{{{ {CANARY} ")),
            ("absent", prompt_pb.PromptSource(user=f"{{{{ {CANARY}.x.y }}}}")),
            ("endless", prompt_pb.PromptSource(user=f"{CANARY}{{% for i in range(99999999) %}}{CANARY}{{% endfor %}}")),
            ("bound", prompt_pb.PromptSource(user="{{ question }}", output_schema=f'{{"const": "{CANARY}"}}')),
            ("schema", prompt_pb.PromptSource(user="{{ question }}", output_schema=f'{{"type": "{CANARY}"}}')),
        ):
            self._call(prompts.CreatePrompt, prompt_pb.CreatePromptRequest(prompt=name, source=source))
            variables = {"question": CANARY, "tone": CANARY}
            self._call(prompts.RenderPrompt, prompt_pb.RenderPromptRequest(prompt=name, variables=variables))
        self._call(prompts.GetPrompt, prompt_pb.GetPromptRequest(prompt=f"{CANARY} {CANARY}"))

    def _models(self) -> None:
        models = stub_of(ModelServiceStub, self._channel)
        for model, credential in (("outside", f"sk-{CANARY}"), ("spare", f"sk-{CANARY}")):
            registered = model_pb.Model(
                model=model,
                provider=model_pb.PROVIDER_OPENAI,
                provider_model="x",
                tenant=self._tenant.tenant,
                base_url=self._fake.openai_url,
                max_output_tokens=500,
            )
            self._call(models.RegisterModel, model_pb.RegisterModelRequest(model=registered))
            secret = model_pb.SetProviderCredentialRequest(
                tenant=self._tenant.tenant,
                provider=model_pb.PROVIDER_OPENAI,
                base_url=self._fake.openai_url,
                credential=credential,
            )
            self._call(models.SetProviderCredential, secret)
        self._call(models.SelectModel, model_pb.SelectModelRequest(model=f"{CANARY}?"))

    def _questions(self) -> None:
        gateway = stub_of(GatewayServiceStub, self._channel)
        queries: list[dict[str, Any]] = [
            {"question": f"When does {CANARY} open?", "end_user": CANARY},
            {"question": f"When does {CANARY} open?", "end_user": CANARY, "personal": True},
            {"question": CANARY, "prompt": "ours", "variables": {"tone": CANARY}, "locale": CANARY},
            {"question": CANARY, "prompt": "ours", "variables": {CANARY: CANARY}},
            {"question": CANARY, "prompt": "bound"},
            {"question": CANARY, "model": f"{CANARY} {CANARY}"},
            {"question": CANARY * 10_000},
            {"question": f"\x00{CANARY}"},
            {"question": CANARY, "collections": [f"{CANARY} {CANARY}"]},
            {"question": CANARY, "end_user": f"{CANARY}\n{CANARY}"},
        ]
        for query in queries:
            self._call(gateway.GenerateContent, pb.GenerateContentRequest(query=pb.GenerationQuery(**query)))
            self._call(
                gateway.StreamGenerateContent, pb.StreamGenerateContentRequest(query=pb.GenerationQuery(**query))
            )

    def _providers(self) -> None:
        gateway = stub_of(GatewayServiceStub, self._channel)
        answers = (
            Reply(f"It is {CANARY}."),
            Reply(status=500),
            Reply(status=400),
            Reply(status=401),
            Reply(status=429, retry_after="1"),
            Reply(garbage=True),
            Reply(f"{CANARY} {CANARY}", cut_after=1),
            Reply(f"{CANARY} {CANARY}", error_after=1),
        )
        for reply in answers:
            self._fake.reply = reply
            for place, rpc in enumerate((gateway.GenerateContent, gateway.StreamGenerateContent)):
                query = pb.GenerationQuery(question=f"{CANARY} {reply.status}", model="outside", cache=pb.CACHE_USE_OFF)
                request = (pb.GenerateContentRequest, pb.StreamGenerateContentRequest)[place](query=query)
                self._call(rpc, request)

    def _admin(self) -> None:
        keys = stub_of(KeyServiceStub, self._channel)
        tenants = stub_of(TenantServiceStub, self._mesh.channel(self._mesh.operator_key))
        self._call(keys.CreateApiKey, key_pb.CreateApiKeyRequest(display_name=CANARY, scopes=["generate"]))
        self._call(keys.CreateApiKey, key_pb.CreateApiKeyRequest(scopes=[CANARY]))
        self._call(keys.RevokeApiKey, key_pb.RevokeApiKeyRequest(key_id=CANARY))
        self._call(
            tenants.CreateOrganisation,
            tenant_pb.CreateOrganisationRequest(organisation=f"{CANARY} !", display_name=CANARY),
        )
        self._call(tenants.GetTenant, tenant_pb.GetTenantRequest(tenant=f"{CANARY} !"))
        for credential in (CANARY, f"tnt_{CANARY}", f"{self._tenant.key}{CANARY}"):
            wrong = stub_of(DocumentServiceStub, self._mesh.channel(credential))
            self._call(wrong.ListDocuments, document_pb.ListDocumentsRequest())
        self._call(stub_of(TraceServiceStub, self._channel).GetTrace, trace_pb.GetTraceRequest(trace_id=CANARY))
        listed = self._call(stub_of(TraceServiceStub, self._channel).ListTraces, trace_pb.ListTracesRequest())
        self.said.append(str(listed))

    def _labels(self) -> None:
        """What might become a label, from the client: a path, and headers that say a tier, a method or an outcome."""
        for path in (f"/{CANARY}/{CANARY}", f"/tenantry.api.prompts.v1.PromptService/{CANARY}"):
            self._call(self._channel.unary_unary(path), b"")
        forged = [("x-tenantry-tier", CANARY), ("rpc.method", CANARY), ("x-tenantry-forwarded", CANARY)]
        with_headers = stub_of(DocumentServiceStub, self._channel).ListDocuments
        with_headers(document_pb.ListDocumentsRequest(), metadata=forged)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("topology", ["cohosted", "processes"])
def test_content_in_logs_spans_metrics_and_errors(tmp_path: Path, topology: Topology, fake: ProviderServer) -> None:
    with collector() as taken:
        told = {"TENANTRY_OTLP_ENDPOINT": taken.endpoint, "TENANTRY_OTLP_METRICS_ENDPOINT": taken.endpoint}
        with running_mesh(topology, tmp_path / "state", envoy=None, TENANTRY_LOG_LEVEL="DEBUG", **told) as mesh:
            said = Everything(mesh, fake).use()
        # What was not exported in the meantime is when the processes end.
        metrics = [str(one) for one in taken.metrics]
        spans = [str(span) for _, span in taken.spans()]
        logs = (tmp_path / "state" / "logs").glob("*.log")
        lines = [line for path in logs for line in path.read_text(errors="replace").splitlines()]
    assert len(said) > 20 and len(lines) > 0
    _check_covered(taken)
    assert any("rpc.server.duration" in one for one in metrics)
    _check_labels(taken)
    assert not [
        text[:2000] for text in (*said, *spans, *metrics, *lines) if CANARY in text or CANARY.encode().hex() in text
    ]


def _check_covered(taken: Collector) -> None:
    services = {service.removeprefix("tenantry-") for service, _ in taken.spans()}
    assert services >= {"gateway", "tenancy", "prompts", "models", "quota", "cache", "retrieval", "insight"}


def _check_labels(taken: Collector) -> None:
    """Of a metric: only words of ours, as many as there are RPCs, codes and tiers."""
    methods = {tuple(rpc.path[1:].split("/")) for rpc in rpcs()}
    for request in taken.metrics:
        for resource in request.resource_metrics:
            for metric in (one for scope in resource.scope_metrics for one in scope.metrics):
                for point in metric.histogram.data_points:
                    labels = {one.key: one.value.string_value for one in point.attributes}
                    service, method = labels.pop("rpc.service"), labels.pop("rpc.method")
                    assert (service, method) in methods
                    assert labels.pop("rpc.grpc.status") in grpc.StatusCode.__members__
                    assert labels.pop("tenantry.tier") in ("", "free", "pro", "enterprise")
                    assert not labels
