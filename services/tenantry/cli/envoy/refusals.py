"""Envoy's own refusals in our words, as kit's edge would give them: for each of Envoy's response flags an error."""

from tenantry.cli.envoy.proto import Message, header
from tenantry.cli.envoy.routes import REQUEST_ID
from tenantry.cli.envoy.settings import Settings
from tenantry.kit import call, envoy
from tenantry.kit.errors import DeadlineExceeded, InvalidArgument, Reason, ResourceExhausted, TenantryError, Unavailable

# https://www.envoyproxy.io/docs/envoy/v1.40.0/configuration/observability/access_log/usage, `RESPONSE_FLAGS`.
_OVERFLOW = ("UO",)
_AWAY = ("UF", "UH", "UC", "UR", "LR", "NC")
_LATE = ("UT", "SI")
_NO_LIMIT = ("RLSE",)
_NO_AUTHORIZATION = ("UAEX",)


def refusals(settings: Settings) -> Message:
    """What local replies say. One that a service wrote, by way of Envoy, has its own status and keeps it."""
    busy = ResourceExhausted(Reason.SERVER_BUSY, "the server has too many calls", retry_after_s=1.0)
    mappers = [
        _mapper(_flags(_OVERFLOW), busy),
        _mapper(_flags(_NO_LIMIT), _away("quota")),
        _mapper(
            {"and_filter": {"filters": [_flags(_NO_AUTHORIZATION), _status(503)]}}, _away("tenancy"), may_be_theirs=True
        ),
        _mapper(_flags(_LATE), DeadlineExceeded()),
        _mapper(_status(413), InvalidArgument("", "the message is too large", reason=Reason.TOO_LARGE)),
    ]
    for service in settings.addresses:
        theirs = {
            "header_filter": {"header": {"name": ":path", "string_match": {"prefix": f"/tenantry.api.{service}."}}}
        }
        mappers.append(_mapper({"and_filter": {"filters": [_flags(_AWAY), theirs]}}, _away(service)))
    mappers += [_mapper(_late(settings.bounds.longest_s), DeadlineExceeded()), _mapper(_status(100, "GE"), None)]
    return {"mappers": mappers}


def _away(service: str) -> Unavailable:
    return Unavailable(Reason.SERVICE_UNAVAILABLE, f"the service `{service}` can't be reached", service=service)


def _mapper(filter: Message, error: TenantryError | None, *, may_be_theirs: bool = False) -> Message:
    """With `may_be_theirs` the error is only for a reply that a service has not written itself."""
    headers = [header(call.REQUEST_ID, REQUEST_ID)]
    if error is not None:
        said = [(one.key, one.value) for one in envoy.refusal_headers(error)]
        headers += [header(key, value, "ADD_IF_ABSENT") for key, value in (*said, ("grpc-message", error.message))]
    # In place of Envoy's own words and, by HTTP, of its own status.
    own = (
        {"status_code": envoy.HTTP_STATUS[error.code], "body": {"inline_string": error.message}}
        if error is not None and not may_be_theirs
        else {}
    )
    return {"filter": filter, "headers_to_add": headers, **own}


def _flags(flags: tuple[str, ...]) -> Message:
    return {"response_flag_filter": {"flags": list(flags)}}


def _late(longest_s: int) -> Message:
    """Envoy's end of a call that its service does not end: it has no flag of its own."""
    value = {"default_value": longest_s * 1000, "runtime_key": "edge.late"}
    return {"duration_filter": {"comparison": {"op": "GE", "value": value}}}


def _status(code: int, op: str = "EQ") -> Message:
    value = {"default_value": code, "runtime_key": "edge.refused"}
    return {"status_code_filter": {"comparison": {"op": op, "value": value}}}
