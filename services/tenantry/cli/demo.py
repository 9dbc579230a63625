"""`tenantry up --demo`: two tenants with documents of their own are asked the same question."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from rich.panel import Panel
from rich.text import Text

from tenantry.api.gateway.v1 import gateway_service_pb2 as gateway_pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.cli import settings
from tenantry.cli.connection import Connection, connect, demo_keys
from tenantry.cli.documents import files_of, upload
from tenantry.cli.operations import watch
from tenantry.cli.output import clean, console, is_terminal
from tenantry.cli.refusals import fail
from tenantry.kit.private_file import write_private
from tenantry.tenancy.roles import ROLES, TENANT_ADMIN

QUESTION = "How long is the refund period?"
TENANTS = {"acme": tenant_pb2.TIER_PRO, "globex": tenant_pb2.TIER_ENTERPRISE}
# Beside the checkout's services folder; an installed wheel has no demo.
DOCUMENTS = Path(__file__).parents[3] / "deploy" / "demo"
# Both tenants' keys are in one file.
_writing = threading.Lock()


def show(address: str, started: float) -> None:
    """Onboards both tenants, side by side, unless they are there, asks each, and says what to try next."""
    if not DOCUMENTS.is_dir():
        fail(
            f"the demo's documents are not here ({DOCUMENTS})",
            "run it from a checkout, or `tenantry up` without --demo",
        )
    threads = ThreadPoolExecutor(len(TENANTS))
    try:
        answers = list(threads.map(partial(_prepare_and_ask, address), TENANTS))
    finally:
        # Not waited for: at Ctrl-C their calls end when the mesh does.
        threads.shutdown(wait=False, cancel_futures=True)
    for tenant, answer in zip(TENANTS, answers, strict=True):
        _show_answer(tenant, answer)
    _show_next(address, answers[0], time.monotonic() - started)


def _prepare_and_ask(address: str, tenant: str) -> Any:
    key = demo_keys().get(tenant)
    if key is not None:
        try:
            return _upload_and_ask(Connection(address, key), tenant)
        except grpc.RpcError as error:
            known: Any = error
            if known.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
    # Never onboarded, or the key was revoked since: onboarding again makes only what is missing.
    key = _onboard(connect(address, None), tenant)
    _remember(tenant, key)
    return _upload_and_ask(Connection(address, key), tenant)


def _upload_and_ask(connection: Connection, tenant: str) -> Any:
    for _ in upload(connection, files_of([DOCUMENTS / tenant]), ""):
        pass
    request = gateway_pb.GenerateContentRequest(query=gateway_pb.GenerationQuery(question=QUESTION))
    return connection.call(GatewayServiceStub, "GenerateContent", request)


def _onboard(operator: Connection, tenant: str) -> str:
    organisation = f"{tenant}-org"
    operator.call(
        TenantServiceStub, "CreateOrganisation", tenant_pb.CreateOrganisationRequest(organisation=organisation)
    )
    request = tenant_pb.CreateTenantRequest(tenant=tenant, organisation=organisation, tier=TENANTS[tenant])
    operation = operator.call(TenantServiceStub, "CreateTenant", request).operation
    for _ in watch(operator, operation.operation):
        pass
    key = key_pb.CreateApiKeyRequest(tenant=tenant, display_name="demo", scopes=sorted(ROLES[TENANT_ADMIN]))
    return operator.call(KeyServiceStub, "CreateApiKey", key).secret


def _remember(tenant: str, key: str) -> None:
    path = settings.demo_keys_file()
    with _writing:
        write_private(path, json.dumps({**demo_keys(), tenant: key}).encode(), replace=True)


def _show_answer(tenant: str, answer: Any) -> None:
    citations = [f"[{one.number}] {one.document}: {one.heading or one.title}" for one in answer.summary.citations]
    if not is_terminal():
        summary = answer.summary
        line = {"tenant": tenant, "question": QUESTION, "answer": answer.text, "citations": citations}
        print(json.dumps({**line, "request_id": summary.request_id, "trace_id": summary.trace_id}))
        return
    said = Text(clean("\n".join([answer.text, "", *citations])))
    console.print(Panel(said, title=f"{tenant}: {QUESTION}", title_align="left"))


def _show_next(address: str, answer: Any, seconds: float) -> None:
    request_id = answer.summary.request_id
    if not is_terminal():
        print(json.dumps({"first_answers_after_s": round(seconds, 1), "keys_file": str(settings.demo_keys_file())}))
        return
    console.print(f"Both answers after {seconds:.1f} s. What to try next, in another terminal:\n")
    for line in (
        ". .venv/bin/activate",
        'tenantry ask --tenant globex "What is the retention period of cold storage snapshots?"',
        f"tenantry trace {request_id} --tenant acme",
        "tenantry usage --tenant acme",
    ):
        console.print(f"  {line}", style="bold")
    console.print(f"\ngRPC address  {address}   (stubs in gen/python, contracts in protos)")
    for tenant, key in demo_keys().items():
        console.print(f"key of {tenant:<7} {key}", soft_wrap=True, markup=False)
