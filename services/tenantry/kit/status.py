"""Between `kit.errors` and gRPC: an error becomes a `google.rpc.Status`, and a failed call an error."""

import math
from typing import Any, cast

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2, error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]
from grpc import aio

from tenantry.kit.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    TenantryError,
    Unauthenticated,
    Unavailable,
)

DOMAIN = "tenantry.dev"
DETAILS = "grpc-status-details-bin"
INTERNAL_MESSAGE = "an internal error"
# A status travels in HTTP/2 trailers, which both sides bound; what does not fit is cut here, not by the transport.
MAX_MESSAGE_CHARS = 500
MAX_FIGURE_CHARS = 200
MAX_STATUS_BYTES = 6 * 1024

_PLAIN: dict[str, tuple[type[TenantryError], Reason]] = {
    "UNAUTHENTICATED": (Unauthenticated, Reason.CREDENTIAL_INVALID),
    "PERMISSION_DENIED": (PermissionDenied, Reason.CALLER_NOT_ALLOWED),
    "NOT_FOUND": (NotFound, Reason.NOT_FOUND),
    "ALREADY_EXISTS": (AlreadyExists, Reason.ALREADY_EXISTS),
    "FAILED_PRECONDITION": (FailedPrecondition, Reason.STORE_UNFIT),
    "ABORTED": (Aborted, Reason.VERSION_CONFLICT),
}


def to_status(error: TenantryError, error_id: str = "") -> status_pb2.Status:
    """The status that a client sees. An `Internal` shows a generic sentence and `error_id`, never its own words."""
    internal = isinstance(error, Internal)
    message = INTERNAL_MESSAGE if internal else error.message[:MAX_MESSAGE_CHARS]
    status = status_pb2.Status(code=code_pb2.Code.Value(error.code), message=message)
    figures = {name: value[:MAX_FIGURE_CHARS] for name, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=figures)
    status.details.add().Pack(info, deterministic=True)
    if internal and (error.error_id or error_id):
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=error.error_id or error_id))
    if isinstance(error, ResourceExhausted | Unavailable) and error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after_s * 1e9))
        status.details.add().Pack(retry)
    _add_violations(status, error)
    return status


# As OpenAI's clients know them; each is told where the refusal has its figure.
_FIGURES = tuple(
    (f"{figure}_{kind}", f"x-ratelimit-{figure}-{kind}")
    for figure in ("limit", "remaining", "reset")
    for kind in ("requests", "tokens")
)
LIMIT_HEADERS = frozenset({"retry-after", *(header for _, header in _FIGURES)})


def limit_headers(error: TenantryError) -> tuple[tuple[str, str], ...]:
    """When to come back and what is left, for clients of HTTP; they travel as trailing metadata."""
    headers: list[tuple[str, str]] = []
    if isinstance(error, ResourceExhausted | Unavailable) and error.retry_after_s is not None:
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after_s)))))
    if isinstance(error, ResourceExhausted):
        headers += [(header, error.metadata[name]) for name, header in _FIGURES if name in error.metadata]
    return tuple(headers)


def _add_violations(status: status_pb2.Status, error: TenantryError) -> None:
    if isinstance(error, InvalidArgument):
        pairs, pack = error.violations, _bad_request
    elif isinstance(error, ResourceExhausted):
        pairs, pack = error.violations, _quota_failure
    else:
        return
    while pairs:
        status.details.add().Pack(pack(pairs))
        if status.ByteSize() <= MAX_STATUS_BYTES:
            return
        del status.details[-1]
        pairs = pairs[: len(pairs) // 2]


def _bad_request(pairs: list[tuple[str, str]]) -> error_details_pb2.BadRequest | error_details_pb2.QuotaFailure:
    violation = error_details_pb2.BadRequest.FieldViolation
    return error_details_pb2.BadRequest(field_violations=[violation(field=f, description=d) for f, d in pairs])


def _quota_failure(pairs: list[tuple[str, str]]) -> error_details_pb2.BadRequest | error_details_pb2.QuotaFailure:
    violation = error_details_pb2.QuotaFailure.Violation
    return error_details_pb2.QuotaFailure(violations=[violation(subject=s, description=d) for s, d in pairs])


def from_rpc_error(failure: aio.AioRpcError, service: str = "") -> TenantryError:
    """The error that the other side raised; for a failure of the transport, what it means for us."""
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS and isinstance(value, bytes):
            try:
                error = from_status(status_pb2.Status.FromString(value))
                error.noted = True  # by the service that refused
                return error
            except (ValueError, DecodeError):
                break
    return _without_details(failure, service)


def from_status(status: status_pb2.Status) -> TenantryError:
    """The inverse of `to_status`. Raises ValueError for a status that is not one of ours."""
    info = error_details_pb2.ErrorInfo()
    bad_request = error_details_pb2.BadRequest()
    quota = error_details_pb2.QuotaFailure()
    retry = error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    for detail in status.details:
        _unpack(detail, info, bad_request, quota, retry, request)
    if info.domain != DOMAIN:
        raise ValueError("the status carries no ErrorInfo of ours")
    reason = Reason(info.reason)
    metadata = dict(info.metadata)
    retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None
    match code_pb2.Code.Name(cast(code_pb2.Code, status.code)):
        case "INVALID_ARGUMENT":
            fields = [(v.field, v.description) for v in bad_request.field_violations]
            return _with(InvalidArgument.many(fields, reason=reason, message=status.message), metadata)
        case "RESOURCE_EXHAUSTED":
            limits = [(v.subject, v.description) for v in quota.violations]
            error = ResourceExhausted(reason, status.message, retry_after_s=retry_after_s, violations=limits)
            return _with(error, metadata)
        case "UNAVAILABLE":
            return _with(Unavailable(reason, status.message, retry_after_s=retry_after_s), metadata)
        case "DEADLINE_EXCEEDED":
            return _with(DeadlineExceeded(reason, status.message), metadata)
        case "INTERNAL":
            return _with(Internal(status.message, error_id=request.request_id), metadata)
        case code if code in _PLAIN:
            return _with(_PLAIN[code][0](reason, status.message), metadata)
        case code:
            raise ValueError(f"{code} is no code of ours")


def _with(error: TenantryError, metadata: dict[str, str]) -> TenantryError:
    error.metadata = metadata
    return error


def _unpack(detail: AnyMessage, *into: Message) -> None:
    for message in into:
        if detail.Unpack(message):
            return


def _without_details(failure: aio.AioRpcError, service: str) -> TenantryError:
    """A status that no code of ours made: its words are the transport's and may name addresses, so they are dropped."""
    named: dict[str, Any] = {"service": service} if service else {}
    whose = f"the service `{service}`" if service else "the service"
    match failure.code().name:
        case "DEADLINE_EXCEEDED":
            return DeadlineExceeded()
        case "UNAVAILABLE":
            return Unavailable(Reason.SERVICE_UNAVAILABLE, f"{whose} can't be reached", **named)
        case "CANCELLED":
            return Unavailable(Reason.SERVICE_UNAVAILABLE, f"{whose} broke off the call", **named)
        case "RESOURCE_EXHAUSTED":
            if "larger than max" in (failure.details() or ""):
                return InvalidArgument("", "the message is too large", reason=Reason.TOO_LARGE)
            return ResourceExhausted(Reason.SERVER_BUSY, f"{whose} is busy", retry_after_s=1.0)
        case "INVALID_ARGUMENT":
            return InvalidArgument("", f"{whose} did not understand the request")
        case code if code in _PLAIN:
            kind, reason = _PLAIN[code]
            return kind(reason, f"{whose} answered {code}")
        case code:
            return Internal(f"{whose} answered {code}")
