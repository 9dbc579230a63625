"""A client of the mesh for one command: its address, its key, and what a refusal means to a person."""

import json
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, cast

import grpc
import typer
from google.rpc import error_details_pb2  # pyright: ignore[reportMissingTypeStubs]
from grpc_status import rpc_status
from rich.console import Console

from tenantry.cli import settings
from tenantry.kit.settings import secret_file

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
# What to do next, by the reason of the refusal: the remedies of error_reason.proto in the command's own words.
ADVICE = {
    "INVALID_FIELD": "correct it and try again",
    "TEMPLATE_INVALID": "correct the template with `tenantry prompt update`",
    "TOO_LARGE": "send less at once",
    "CREDENTIAL_MISSING": "give a key with --key, --tenant (a demo tenant's) or TENANTRY_KEY",
    "CREDENTIAL_INVALID": "check the key; `tenantry key list` shows which are valid",
    "SERVICE_IDENTITY_INVALID": "this is not for clients",
    "SCOPE_MISSING": "use a key that has the scope; `tenantry key create --scope …` makes one",
    "CALLER_NOT_ALLOWED": "use a key of a tenant; `tenantry key create --tenant …` makes one",
    "RECEIPT_INVALID": "this is not for clients",
    "MODEL_DENIED": "choose another model, or have the tenant's policy changed",
    "COLLECTION_DENIED": "choose another collection, or use another key",
    "NOT_FOUND": "check the name; another tenant's things look the same as none",
    "ALREADY_EXISTS": "choose another name, or change what is there",
    "TENANT_NOT_ACTIVE": "wait until its operation has ended: `tenantry tenant show`",
    "TENANT_NOT_PROVISIONED": "wait until its onboarding has ended: `tenantry tenant show`",
    "STORE_UNFIT": "have an operator run `tenantry doctor`",
    "NO_MODEL": "register a model, or change the tenant's policy",
    "STILL_IN_USE": "remove what uses it first",
    "VERSION_CONFLICT": "read it again and repeat the change",
    "HANDLE_LOST": "try again",
    "REQUESTS_PER_MINUTE": "wait, or ask for a higher limit",
    "TOKENS_PER_MINUTE": "wait, ask for a shorter answer, or ask for a higher limit",
    "CONCURRENT_REQUESTS": "wait until another request has ended",
    "OUTBOX_FULL": "have an operator start insight: the ledger does not read",
    "LARGER_THAN_LIMIT": "ask for a shorter answer, or for a higher limit",
    "SERVER_BUSY": "wait a little",
    "TOO_MANY": "delete some first",
    "STORE_UNAVAILABLE": "try again; if it stays, have an operator run `tenantry doctor`",
    "SERVICE_UNAVAILABLE": "try again; if it stays, have an operator run `tenantry doctor`",
    "PROVIDER_UNAVAILABLE": "try again, or give the tenant's policy a fallback",
    "PROVIDER_RATE_LIMITED": "wait, or give the tenant's policy a fallback",
    "PROVIDER_REFUSED": "check the model's registration and the provider's credential",
    "DEADLINE": "allow more time",
    "INTERNAL": "report the error id; it is in the service's log",
    "OUTPUT_INVALID": "loosen the output schema, or tell the model more in the prompt",
}


class Connection:
    """Stubs of one caller. The generated stubs are typed for asyncio; a command blocks, hence Any."""

    def __init__(self, address: str, key: str) -> None:
        self.address = address
        self._metadata = (("authorization", f"Bearer {key}"),)
        options = [("grpc.max_receive_message_length", 2 * MAX_MESSAGE_BYTES), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(address, options)

    def call(self, stub: Any, name: str, request: Any, *, timeout_s: float = 60.0) -> Any:
        """One call of the RPC `name`; a stream of responses when the RPC streams them."""
        return getattr(stub(self._channel), name)(request, metadata=self._metadata, timeout=timeout_s)

    def pages(self, stub: Any, name: str, request: Any, field: str) -> Iterable[Any]:
        """All entries of a list, page by page."""
        while True:
            answer = self.call(stub, name, request)
            yield from getattr(answer, field)
            if not answer.page.next_token:
                return
            request.page.token = answer.page.next_token


def connect(address: str | None, key: str | None, tenant: str | None = None) -> Connection:
    """The connection that the options ask for; without any key, a demo tenant's or the local operator's."""
    chosen = key or settings.key() or (_demo_key(tenant) if tenant else _operator_key())
    return Connection(address or settings.address(), chosen)


def demo_keys() -> dict[str, str]:
    """The keys of the demo tenants by tenant; none before `up --demo`."""
    try:
        return json.loads(settings.demo_keys_file().read_text())
    except OSError:
        return {}


def _demo_key(tenant: str) -> str:
    return demo_keys().get(tenant) or _operator_key()


def _operator_key() -> str:
    try:
        return secret_file("operator.key").read_text().strip()
    except OSError:
        return fail("there is no key to call with", "give one with --key or TENANTRY_KEY, or run `tenantry init`")


def fail(what: str, next_step: str) -> Any:
    """Ends the command with one sentence and what to do next."""
    Console(stderr=True, soft_wrap=True).print(f"[red]tenantry:[/red] {what}; {next_step}.", highlight=False)
    raise typer.Exit(1)


@contextmanager
def refusals() -> Generator[None]:
    """Turns a refused call into a sentence and exit status 1."""
    try:
        yield
    except grpc.RpcError as error:
        fail(*explain(error))


def explain(error: Any) -> tuple[str, str]:
    """What was refused and what to do next."""
    status = cast(Any, rpc_status).from_call(error)
    if status is None:
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            return "the mesh does not answer", "start it with `make run`, or give its address with --address"
        return f"{error.details()} ({error.code().name})", "try again"
    details: dict[type, Any] = {}
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.RequestInfo):
            unpacked = kind()
            if packed.Unpack(unpacked):
                details[kind] = unpacked
    reason = details[error_details_pb2.ErrorInfo].reason if error_details_pb2.ErrorInfo in details else ""
    what = f"{status.message.rstrip('.')} ({error.code().name}{', ' + reason if reason else ''})"
    retry = details.get(error_details_pb2.RetryInfo)
    if retry is not None:
        what += f", to be tried again in {retry.retry_delay.ToMilliseconds() / 1000:.3g} s"
    if reason == "INTERNAL" and error_details_pb2.RequestInfo in details:
        what += f", error id {details[error_details_pb2.RequestInfo].request_id}"
    return what, ADVICE.get(reason, "try again")


def with_refusals(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose refused calls end it with a sentence."""
    from functools import wraps

    @wraps(command)
    def run(*arguments: Any, **named: Any) -> None:
        with refusals():
            command(*arguments, **named)

    return run
