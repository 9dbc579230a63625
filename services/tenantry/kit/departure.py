"""What a call of the mesh takes along when it is made: proofs, request, trace, deadline; and its span until it ends."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from opentelemetry import trace

from tenantry.kit import call, telemetry, tracecontext
from tenantry.kit.access import access_of, service_of
from tenantry.kit.errors import DeadlineExceeded, Internal, InvalidArgument, Reason

UNARY_S = 30.0
# A stream without a deadline lives as long as a server lets it.
STREAM_S = 600.0
Pairs = tuple[tuple[str, str | bytes], ...]


class Trip:
    """One call on its way: its span, the metadata it carries, its deadline."""

    __slots__ = ("deadline", "metadata", "span")

    def __init__(self, span: trace.Span, metadata: Pairs, deadline: float) -> None:
        self.span = span
        self.metadata = metadata
        self.deadline = deadline

    def remaining(self) -> float:
        """Seconds left; raises when none are."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded
        return left

    def end(self, code: str, attempts: int = 1) -> None:
        """Ends the span, once, with the status that the call had."""
        span = self.span
        if span.is_recording():
            span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
            if attempts > 1:
                span.set_attribute("tenantry.attempts", attempts)
            if code not in ("OK", "CANCELLED"):
                span.set_status(trace.StatusCode.ERROR)
            span.end()


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of an RPC before the first call. `about` is whether its tenant is learnt from the answer."""

    name: str
    target: str | None
    traced: bool
    about: bool
    attributes: dict[str, str]

    @classmethod
    def of(cls, room: str, path: str) -> "Route":
        service, _, method = path.removeprefix("/").partition("/")
        access = access_of(path)
        return cls(
            path[1:],
            room if service_of(path) is None else None,
            not service.startswith("opentelemetry."),
            access is not None and access.caller != "required",
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method, "server.address": room},
        )


class Departures:
    """Prepares the calls of one hosted service."""

    def __init__(self, service: str, token_source: Callable[[], str]) -> None:
        self._service = service
        self._token_source = token_source

    def depart(self, route: Route, timeout: float | None, longest_s: float, extra: Any) -> Trip:
        """A call made now, on behalf of the call being served, if there is one."""
        now = call.CURRENT.get()
        deadline = time.monotonic() + (longest_s if timeout is None else timeout)
        if now.deadline is not None and now.deadline < deadline:
            deadline = now.deadline
        span = trace.INVALID_SPAN
        if route.traced:
            parent = trace.get_current_span()
            span = telemetry.start_span(self._service, route.name, parent, trace.SpanKind.CLIENT, route.attributes)
        carried: list[tuple[str, str | bytes]] = [*now.onward()]
        token = self._token_source()
        if token:
            carried.append((call.SERVICE, token))
        if route.target is not None:
            carried.append((call.TARGET, route.target))
        header = tracecontext.header(span)
        if header is not None:
            carried.append((call.TRACEPARENT, header))
        if extra:
            carried.extend(extra)
        return Trip(span, tuple(carried), deadline)


def encoder(serialise: Callable[[Any], bytes] | None, limit: int) -> Callable[[Any], bytes]:
    """Serialises a request, and refuses here what the server would refuse."""

    def encode(message: Any) -> bytes:
        data = serialise(message) if serialise is not None else message
        if len(data) > limit:
            raise InvalidArgument("", f"the message is larger than {limit} bytes", reason=Reason.TOO_LARGE)
        return data

    return encode


def decoder(parse: Callable[[bytes], Any] | None, path: str) -> Callable[[bytes], Any]:
    """Parses a response."""

    def decode(data: bytes) -> Any:
        try:
            return parse(data) if parse is not None else data
        except DecodeError:
            raise Internal(f"the response of {path} can't be decoded") from None

    return decode


def learn(span: trace.Span, trailing: Any) -> None:
    """Takes over what the answer says about whose the call was."""
    found = {key: value for key, value in trailing or () if key in (call.TENANT, call.TIER)}
    telemetry.mark(span, str(found.get(call.TENANT, "")), str(found.get(call.TIER, "")))
