"""What a person is told when a command can't do what was asked: one sentence, and what to do next."""

import sys
import tempfile
import traceback
from typing import Any, NoReturn, cast

import typer
from rich.console import Console
from rich.text import Text

from tenantry.cli.output import clean

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
    "NETWORK_DENIED": "call from one of its networks, or use another key",
    "NOT_FOUND": "check the name; another tenant's things look the same as none",
    "ALREADY_EXISTS": "choose another name, or change what is there",
    "TENANT_NOT_ACTIVE": "wait until its operation has ended, or have it resumed: `tenantry tenant show`",
    "TENANT_NOT_PROVISIONED": "wait until its onboarding has ended: `tenantry tenant show`",
    "STORE_UNFIT": "have an operator run `tenantry doctor`",
    "NO_MODEL": "register a model, or change the tenant's policy",
    "STILL_IN_USE": "remove what uses it first",
    "KEY_NOT_CURRENT": "use the key that replaced it, or make a new one",
    "VERSION_CONFLICT": "read it again and repeat the change",
    "HANDLE_LOST": "try again",
    "REQUESTS_PER_MINUTE": "wait, or ask for a higher limit",
    "TOKENS_PER_MINUTE": "wait, ask for a shorter answer, or ask for a higher limit",
    "TOKENS_BUDGET": "wait until the next day or month begins, or ask for a higher limit",
    "COST_BUDGET": "wait until the next day or month begins, or ask for a higher limit",
    "CONCURRENT_REQUESTS": "wait until another request has ended",
    "OUTBOX_FULL": "have an operator start insight: the ledger does not read",
    "LARGER_THAN_LIMIT": "ask for a shorter answer, or for a higher limit",
    "SERVER_BUSY": "wait a little",
    "TOO_MANY": "delete some first",
    "CALLS_PER_MINUTE": "wait, and call less often",
    "TOO_MANY_FAILURES": "check the key, then wait a little",
    "QUEUE_LATE": "allow more time, or come back when it says",
    "QUEUE_FULL": "wait, and send fewer at once",
    "STORE_UNAVAILABLE": "try again; if it stays, have an operator run `tenantry doctor`",
    "SERVICE_UNAVAILABLE": "try again; if it stays, have an operator run `tenantry doctor`",
    "PROVIDER_UNAVAILABLE": "try again, or give the tenant's policy a fallback",
    "PROVIDER_RATE_LIMITED": "wait, or give the tenant's policy a fallback",
    "PROVIDER_REFUSED": "check the model's registration and the provider's credential",
    "ISSUER_UNAVAILABLE": "try again; if it stays, look at the issuer",
    "DEADLINE": "allow more time",
    "INTERNAL": "report the error id; it is in the service's log",
    "OUTPUT_INVALID": "loosen the output schema, or tell the model more in the prompt",
}
_CODES = {"DEADLINE_EXCEEDED": ADVICE["DEADLINE"], "RESOURCE_EXHAUSTED": ADVICE["SERVER_BUSY"]}


def fail(what: str, next_step: str) -> NoReturn:
    """Ends the command with one sentence and what to do next."""
    said = Text.assemble(("tenantry:", "red"), f" {clean(what)}; {next_step}.")
    Console(stderr=True, soft_wrap=True, emoji=False, highlight=False).print(said)
    raise typer.Exit(1)


def explain(error: Any) -> tuple[str, str]:
    """What the mesh refused, and what to do next. `error` is a grpc.RpcError."""
    from google.rpc import error_details_pb2  # pyright: ignore[reportMissingTypeStubs]

    status = _status_of(error)
    code = error.code().name
    if status is None:
        if code == "UNAVAILABLE":
            return "the mesh does not answer", "start it with `make run`, or give its address with --address"
        return f"{error.details()} ({code})", _CODES.get(code, "try again")
    details: dict[type, Any] = {}
    for packed in status.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo, error_details_pb2.RequestInfo):
            unpacked = kind()
            if packed.Unpack(unpacked):
                details[kind] = unpacked
    reason = details[error_details_pb2.ErrorInfo].reason if error_details_pb2.ErrorInfo in details else ""
    what = f"{status.message.rstrip('.')} ({code}{', ' + reason if reason else ''})"
    retry = details.get(error_details_pb2.RetryInfo)
    if retry is not None:
        what += f", to be tried again in {retry.retry_delay.ToMilliseconds() / 1000:.3g} s"
    if reason == "INTERNAL" and error_details_pb2.RequestInfo in details:
        what += f", error id {details[error_details_pb2.RequestInfo].request_id}"
    return what, ADVICE.get(reason, "try again")


def told(error: Exception) -> tuple[str, str]:
    """What any exception means to a person. Only a fault of the command itself leaves its traceback, in a file."""
    from tenantry.kit.errors import TenantryError

    grpc = sys.modules.get("grpc")
    if grpc is not None and isinstance(error, grpc.RpcError):
        return explain(error)
    if isinstance(error, TenantryError):
        return error.message, ADVICE.get(error.reason, "try again")
    if isinstance(error, UnicodeError):
        return "what was given is no text in UTF-8", "save it as UTF-8"
    if isinstance(error, OSError):
        named = f"{error.filename}: " if error.filename else ""
        return f"{named}{error.strerror or type(error).__name__}", "correct that and try again"
    with tempfile.NamedTemporaryFile("w", prefix="tenantry-", suffix=".txt", delete=False) as file:
        file.writelines(traceback.format_exception(error))
    return f"a fault of the command itself ({type(error).__name__}: {error})", f"report {file.name}"


def _status_of(error: Any) -> Any:
    """The google.rpc.Status that the mesh sent; None when the answer is not the mesh's own."""
    from grpc_status import rpc_status

    try:
        return cast(Any, rpc_status).from_call(error)
    except ValueError:  # details that contradict the code: somebody between us and the mesh
        return None
