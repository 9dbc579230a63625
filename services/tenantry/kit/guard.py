"""The pipeline that every call passes before and after its handler, whichever listener or channel it came by.

A guarded handler takes and gives bytes. In order: a seat (or the server is busy), the span, the proofs and the access
rule, the call's context, decoding, the handler, encoding; and, however it ended, status, metric, log and span.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, cast

import grpc
from grpc import aio
from opentelemetry import context as otel
from opentelemetry import trace

from tenantry.kit import call, ids, peer, telemetry, tracecontext
from tenantry.kit.access import EDGE, Access, Authenticator, Verified, access_of, admit
from tenantry.kit.audit_refusals import Refusal, refusal_of
from tenantry.kit.caller import Caller
from tenantry.kit.errors import (
    DeadlineExceeded,
    Internal,
    Reason,
    ResourceExhausted,
    TenantryError,
    Unauthenticated,
    Unavailable,
)
from tenantry.kit.faults import report
from tenantry.kit.guard_shapes import Body, over_bytes
from tenantry.kit.inprocess_context import PEER
from tenantry.kit.revocations import Revocations
from tenantry.kit.shares import Shares
from tenantry.kit.status import DETAILS, limit_headers, to_status

_PROOFS = frozenset({call.TENANT, "authorization"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# As gRPC's semantic conventions have it: other codes are the caller's doing and leave the span's status unset.
FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})


@dataclass(frozen=True, slots=True)
class Limits:
    """What one room takes at most."""

    message_bytes: int = 4 * 1024 * 1024
    concurrent_calls: int = 2000
    # Of one tenant, so that one does not take the seats of all.
    tenant_calls: int = 500
    call_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Method:
    """All that is known of an RPC before the first call."""

    path: str
    service: str
    name: str
    access: Access
    traced: bool
    about: bool
    feed: bool
    attributes: dict[str, str]

    @classmethod
    def of(cls, path: str, access: Access, streams_out: bool) -> "Method":
        service, _, name = path.removeprefix("/").partition("/")
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        # Spans about the export of spans would never end; Envoy's questions are no part of the trace, which begins behind it.
        traced = not service.startswith(("opentelemetry.", "envoy."))
        about = access.caller != "required"
        feed = streams_out and access.caller == "none"
        return cls(path, service, name, access, traced, about, feed, attributes)


class Ending:
    """How a call ended, for its span and metric, and of whom it was, for the audit log."""

    __slots__ = ("code", "error_id", "reason", "share", "tier", "verified")

    def __init__(self) -> None:
        self.verified = Verified(None, None)
        self.share: str | None = None
        self.code = "OK"
        self.reason = ""
        self.error_id = ""
        self.tier = ""


class Guard:
    """Guards the handlers of one room, counts its running calls and ends them when it drains."""

    def __init__(
        self,
        room: str,
        authenticator: Authenticator,
        limits: Limits,
        revocations: Revocations,
        note: Callable[[Refusal], None],
    ) -> None:
        self._room = room
        self._note = note
        self._authenticator = authenticator
        self._limits = limits
        self._revocations = revocations
        revocations.watch(self._cut_refused)
        self._running: set[asyncio.Task[Any]] = set()
        self._feeds: set[asyncio.Task[Any]] = set()
        # Feeds of this process to itself: they go on until its last call has ended.
        self._own_feeds: set[asyncio.Task[Any]] = set()
        self._shares = Shares(limits.tenant_calls)
        self._callers: dict[asyncio.Task[Any], Caller] = {}
        self._cut: dict[asyncio.Task[Any], TenantryError] = {}
        self._stopping = False
        self._draining = False
        self._durations = telemetry.meter.create_histogram(
            "rpc.server.duration", unit="s", description="Time from a call's arrival to its status"
        )

    def wrap(self, path: str, handler: "grpc.RpcMethodHandler[Any, Any]") -> "grpc.RpcMethodHandler[bytes, bytes]":
        """The handler behind the pipeline. Raises LookupError for an RPC without a complete access rule."""
        access = access_of(path)
        if access is None:
            raise LookupError(f"{path} has no complete access option, so nobody may call it")
        method = Method.of(path, access, handler.response_streaming)

        async def run(context: Any, body: Body) -> bytes | None:
            return await self._run(method, context, body)

        check = self._check_caller if access.caller == "required" else _nothing
        return over_bytes(handler, run, self._limits.message_bytes, check)

    @property
    def running(self) -> int:
        """How many calls are being served, without feeds of this process to itself."""
        return len(self._running) - len(self._own_feeds)

    def stop(self) -> None:
        """Ends others' feeds at once, since they never end by themselves; other calls are taken until `end`."""
        self._stopping = True
        _cancel(self._feeds)

    async def idle(self, within_s: float) -> None:
        """Returns when no call runs, or after this time."""
        if running := self._running - self._own_feeds:
            await asyncio.wait(running, timeout=within_s)

    async def end(self) -> None:
        """Takes nothing new, and ends what still runs as UNAVAILABLE."""
        self._draining = True
        _cancel(self._running)
        await self.idle(1.0)

    async def _run(self, method: Method, context: Any, body: Body) -> bytes | None:
        started = time.monotonic()
        ending = Ending()
        span = trace.INVALID_SPAN
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        try:
            self._take_seat(method, task, method.feed and context.peer() == PEER)
            metadata = unique(context.invocation_metadata())
            certified = peer.certified(context.auth_context(), time.time())
            request_id = _request_id(metadata.get(call.REQUEST_ID))
            call.CURRENT.set(call.Call(request_id=request_id, service=self._room))
            if method.traced:
                span = self._open_span(method, metadata, certified)
            if method.access.audience != "mesh" and not _is_inside(metadata, certified):
                # Nobody of the mesh sent it on: the answer says, as kit's edge does, by which id people may ask for its trace.
                context.set_trailing_metadata(((call.REQUEST_ID, request_id),))
            remaining = await self._enter(method, context, metadata, certified, request_id, span, ending, task)
            if remaining is not None and remaining <= self._limits.call_s:
                response = await body()  # The transport ends it.
            else:
                response = await self._within(self._limits.call_s, body)
            if method.about:
                context.set_trailing_metadata((*(context.trailing_metadata() or ()), *_about(span)))
            return response
        except TenantryError as error:
            refusal = refusal_of(method.name, method.access, ending.verified.caller, ending.verified.identity, error)
            if refusal is not None:
                self._note(refusal)
            await self._refuse(method, context, error, ending)
        except aio.AbortError:
            ending.code = _code_name(context.code())
            raise
        except asyncio.CancelledError:
            await self._cancelled(method, context, task, ending)
            raise
        except Exception as failure:
            await self._refuse(method, context, _internal(failure), ending, failure)
        finally:
            self._leave_seat(task, ending)
            self._close(method, span, ending, time.monotonic() - started)

    def _take_seat(self, method: Method, task: "asyncio.Task[Any]", own: bool) -> None:
        if self._draining or (self._stopping and method.feed and not own):
            raise _gone()
        if len(self._running) >= self._limits.concurrent_calls:
            raise ResourceExhausted(Reason.SERVER_BUSY, "the server has too many calls", retry_after_s=1.0)
        self._running.add(task)
        if method.feed:
            (self._own_feeds if own else self._feeds).add(task)

    def _leave_seat(self, task: "asyncio.Task[Any]", ending: Ending) -> None:
        self._running.discard(task)
        self._feeds.discard(task)
        self._own_feeds.discard(task)
        self._callers.pop(task, None)
        self._cut.pop(task, None)
        if ending.share is not None:
            self._shares.give(ending.share)

    def _check(self, caller: Caller) -> None:
        refused = self._revocations.refusal(caller)
        if refused is not None:
            raise refused

    def _check_caller(self) -> None:
        """Again before each response: a process that stood still must not go on where it was."""
        caller = call.CURRENT.get().caller
        if caller is not None:
            self._check(caller)

    def _cut_refused(self) -> None:
        """Ends the running calls of callers who would be refused now."""
        for task, caller in tuple(self._callers.items()):
            refused = self._revocations.refusal(caller)
            if refused is not None:
                self._cut[task] = refused
                del self._callers[task]
                task.cancel()

    async def _enter(
        self,
        method: Method,
        context: Any,
        metadata: dict[str, str],
        certified: str | None,
        request_id: str,
        span: trace.Span,
        ending: Ending,
        task: "asyncio.Task[Any]",
    ) -> float | None:
        verified = await self._authenticator.authenticate(method.path, method.access, metadata, certified)
        if call.FORWARDED in metadata:
            # The edge shows who it is so that the trace goes on. What the gateway may do for a caller that lacks the scope,
            # the caller may not do by itself.
            verified = Verified(verified.caller, None)
        caller = verified.caller
        ending.verified = verified
        if caller is not None:
            ending.tier = caller.tier
            if span.is_recording():
                telemetry.mark(span, caller.tenant, caller.tier)
            if method.access.caller == "required":
                self._check(caller)
                self._shares.take(caller.tenant)
                ending.share = caller.tenant
                self._callers[task] = caller
        admit(method.access, verified)
        remaining = cast("float | None", context.time_remaining())
        call.CURRENT.set(
            call.Call(
                caller,
                verified.identity,
                request_id,
                metadata.get(call.ASSERTION, "") if caller is not None else "",
                None if remaining is None else time.monotonic() + remaining,
                self._room,
            )
        )
        return remaining

    async def _within(self, seconds: float, body: Body) -> bytes | None:
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await body()
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded(message=f"the server ends calls after {seconds:g} s") from None

    def _open_span(self, method: Method, metadata: dict[str, str], certified: str | None) -> trace.Span:
        # Outsiders can't join a trace: only a service, by its certificate or a token (verified next), names its parent.
        inside = _is_inside(metadata, certified)
        parent = tracecontext.parent(metadata.get(call.TRACEPARENT) if inside else None)
        links = () if inside else tracecontext.links(metadata.get(call.CLIENT_TRACEPARENT))
        span = telemetry.start_span(
            self._room, method.path[1:], parent, trace.SpanKind.SERVER, method.attributes, links
        )
        # The task, and with it the context, is this call's own: nothing to detach.
        otel.attach(trace.set_span_in_context(span, tracecontext.EMPTY))
        return span

    async def _cancelled(self, method: Method, context: Any, task: "asyncio.Task[Any]", ending: Ending) -> None:
        if task.cancelling() == 0:
            # Nobody cancelled the call: something that the handler awaited was cancelled, and gRPC would never answer.
            await self._refuse(method, context, Internal("what the handler waited for was cancelled"), ending)
        if task in self._cut:
            await self._refuse(method, context, self._cut[task], ending)
        if self._draining or (self._stopping and method.feed):
            await self._refuse(method, context, _gone(), ending)
        remaining = context.time_remaining()
        ending.code = "DEADLINE_EXCEEDED" if remaining is not None and remaining <= 0 else "CANCELLED"

    async def _refuse(
        self,
        method: Method,
        context: Any,
        error: TenantryError,
        ending: Ending,
        failure: BaseException | None = None,
    ) -> NoReturn:
        ending.code = error.code
        ending.reason = error.reason.value
        if isinstance(error, Internal):
            ending.error_id = report(method.path, error, failure)
        status = to_status(error, ending.error_id)
        about = _about(trace.get_current_span()) if method.about else ()
        told = (*about, *limit_headers(error), (DETAILS, status.SerializeToString()))
        await context.abort(grpc.StatusCode[error.code], status.message, (*(context.trailing_metadata() or ()), *told))
        raise AssertionError("abort always raises")

    def _close(self, method: Method, span: trace.Span, ending: Ending, duration_s: float) -> None:
        self._durations.record(
            duration_s,
            {
                "rpc.service": method.service,
                "rpc.method": method.name,
                "rpc.grpc.status": ending.code,
                "tenantry.tier": ending.tier,
            },
        )
        if span.is_recording():
            span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[ending.code].value[0])
            if ending.reason:
                span.set_attribute("tenantry.error.reason", ending.reason)
            if ending.error_id:
                span.set_attribute("tenantry.error.id", ending.error_id)
            if ending.code in FAULTS:
                span.set_status(trace.StatusCode.ERROR)
        span.end()


def _is_inside(metadata: dict[str, str], certified: str | None) -> bool:
    """Whether a service sent the call on, by its certificate or a token (verified later); Envoy's brings a client's call."""
    return certified not in (None, EDGE) or call.SERVICE in metadata


def _request_id(given: str | None) -> str:
    """The sender's id if it is one, else a new one: it goes into logs and spans before anybody is verified."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else ids.new_id("req")


def unique(pairs: Any) -> dict[str, str]:
    """The call's text metadata by name. A name that carries a proof must not come twice: nobody may pick."""
    metadata: dict[str, str] = {}
    for key, value in pairs or ():
        if key in metadata and (key.startswith("x-tenantry-") or key in _PROOFS):
            raise Unauthenticated(Reason.CREDENTIAL_INVALID, f"the metadata {key} is doubled")
        if isinstance(value, str):
            metadata[key] = value
    return metadata


def _cancel(tasks: "set[asyncio.Task[Any]]") -> None:
    for task in tuple(tasks):
        task.cancel()


def _nothing() -> None:
    pass


def _gone() -> Unavailable:
    return Unavailable(Reason.SERVICE_UNAVAILABLE, "the service is stopping", retry_after_s=1.0)


def _about(span: trace.Span) -> tuple[tuple[str, str], ...]:
    """Whom an answer without a caller is about, if the handler said so on its span (`telemetry.set_tenant`)."""
    attributes = getattr(span, "attributes", None) if span.is_recording() else None
    if not attributes or not attributes.get(telemetry.TENANT):
        return ()
    tier = str(attributes.get(telemetry.TIER, ""))
    return ((call.TENANT, str(attributes[telemetry.TENANT])), *(((call.TIER, tier),) if tier else ()))


def _internal(failure: Exception) -> Internal:
    return Internal(f"{type(failure).__name__} was not expected")


def _code_name(code: Any) -> str:
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((known.name for known in grpc.StatusCode if known.value[0] == code), "UNKNOWN")
