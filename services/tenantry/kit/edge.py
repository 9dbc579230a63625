"""The mesh's address for clients where no Envoy is: settles who calls, then forwards public and admin RPCs as bytes.

Nothing that a client sends as metadata goes in but its credential, which ends here, and the fact that it has a trace of
its own, which becomes a link. Mesh RPCs don't exist at this address.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health_pb2
from opentelemetry import context as otel
from opentelemetry import trace

from tenantry.api.quota.v1 import call_service_pb2 as call_pb
from tenantry.api.quota.v1 import call_service_pb2_grpc as call_grpc
from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import identity_service_pb2_grpc as identity_grpc
from tenantry.kit import call, contracts, ids, network, telemetry, tracecontext
from tenantry.kit.access import access_of, method_of, service_of
from tenantry.kit.audit_refusals import Refusal, nobody_notes
from tenantry.kit.caller import Caller
from tenantry.kit.channel import Mesh
from tenantry.kit.credential import credential_of
from tenantry.kit.errors import Internal, InvalidArgument, Reason, ResourceExhausted, TenantryError, Unauthenticated
from tenantry.kit.faults import report
from tenantry.kit.guard import FAULTS, unique
from tenantry.kit.owner import Platform
from tenantry.kit.settings import MeshSettings
from tenantry.kit.shares import Shares
from tenantry.kit.status import DETAILS, LIMIT_HEADERS, from_rpc_error, limit_headers, to_status

# A call without a deadline of its own ends here after the longest permitted request.
_LONGEST_S = 600.0
# Strangers may watch the health, and as long as they like.
_MOST_WATCHERS = 256
# Whom the answer is for and about, so that people can ask for its trace.
_REQUEST_ID = call.REQUEST_ID


class Edge:
    """A listener for clients. `mesh` is the gateway's, whose identity it forwards with."""

    def __init__(self, mesh: Mesh, settings: MeshSettings, note: Callable[[Refusal], None] = nobody_notes) -> None:
        options = [*network.SERVER_OPTIONS, ("grpc.so_reuseport", int(settings.shared_port))]
        self._health = _Health()
        # No `maximum_concurrent_rpcs`: no handler has its message taken before it is asked, so `_Forward` counts as early and
        # refuses with a reason, and strangers who watch the health can't take the places of calls.
        self._server = aio.server(handlers=[self._health, _Forward(mesh, settings, note)], options=options)
        self.port = self._server.add_insecure_port(settings.edge_listen)

    async def start(self) -> None:
        """Begins to take calls."""
        await self._server.start()

    async def drain(self, grace_s: float) -> None:
        """Takes nothing new, lets running calls end for `grace_s`, and stops."""
        self._health.end()
        await self._server.stop(grace_s)


class _Health(grpc.GenericRpcHandler):
    """The health of the address as a whole, whichever service is asked for.

    gRPC's own servicer has the question taken first, which from a stranger may be 40 MB, and keeps it while he watches.
    """

    def __init__(self) -> None:
        self._ended = asyncio.Event()
        self._watchers = 0
        self._handlers: dict[str, Any] = {
            "/grpc.health.v1.Health/Check": grpc.stream_unary_rpc_method_handler(self._check),
            "/grpc.health.v1.Health/Watch": grpc.stream_stream_rpc_method_handler(self._watch),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)

    def end(self) -> None:
        """Says from now on that nothing more is served."""
        self._ended.set()

    async def _check(self, _: Any, context: Any) -> bytes:
        return self._now()

    async def _watch(self, _: Any, context: Any) -> None:
        if self._watchers >= _MOST_WATCHERS:
            busy = ResourceExhausted(Reason.SERVER_BUSY, "the server's health has too many watchers", retry_after_s=1.0)
            code, message, details, headers = _refusal("", busy)
            await context.abort(grpc.StatusCode[code], message, ((DETAILS, details), *headers))
        self._watchers += 1
        try:
            if not self._ended.is_set():
                await context.write(self._now())
                await self._ended.wait()
            # The last word, so that no watcher holds up the end.
            await context.write(self._now())
        finally:
            self._watchers -= 1

    def _now(self) -> bytes:
        answer = health_pb2.HealthCheckResponse
        return answer(status=answer.NOT_SERVING if self._ended.is_set() else answer.SERVING).SerializeToString()


class _Forward(grpc.GenericRpcHandler):
    """Finds an RPC's service by its path, and keeps the handler."""

    def __init__(self, mesh: Mesh, settings: MeshSettings, note: Callable[[Refusal], None]) -> None:
        contracts.load()
        self._note = note
        self._mesh = mesh
        self._limit = settings.max_concurrent_calls
        self._shares = Shares(settings.max_tenant_calls)
        self._running = 0
        self._identity = identity_grpc.IdentityServiceStub(mesh.channel("tenancy"))
        self._calls = call_grpc.CallServiceStub(mesh.channel("quota"))
        self._handlers: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        if path not in self._handlers:
            # Strangers may name paths without end: only those of RPCs are kept.
            access = access_of(path)
            if access is None or access.audience not in ("public", "admin"):
                return None
            self._handlers[path] = self._handler(path)
        return self._handlers[path]

    def _handler(self, path: str) -> Any:
        method = method_of(path)
        service = service_of(path)
        assert method is not None and service is not None
        shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        target = getattr(self._mesh.transport(service), shape)(path)

        async def answer_once(requests: Any, context: Any) -> bytes | None:
            async def send(metadata: Any, timeout: float) -> Any:
                given = requests if method.client_streaming else await _only(requests)
                sent = target(given, timeout=timeout, metadata=metadata)
                peer = network.PeerStatus(sent) if method.client_streaming else None
                try:
                    return await sent
                except aio.AioRpcError as failure:
                    raise (await peer.behind(failure) if peer is not None else failure) from None

            return await self._pass(path, context, send)

        async def answer_stream(requests: Any, context: Any) -> None:
            async def send(metadata: Any, timeout: float) -> None:
                given = requests if method.client_streaming else await _only(requests)
                stream = target(given, timeout=timeout, metadata=metadata)
                peer = network.PeerStatus(stream) if method.client_streaming else None
                try:
                    async for message in stream:
                        await context.write(message)
                except aio.AioRpcError as failure:
                    raise (await peer.behind(failure) if peer is not None else failure) from None
                finally:
                    stream.cancel()

            await self._pass(path, context, send)

        # Handlers of streams all of them: for others gRPC takes the message, 40 MB perhaps, before anybody asks whose it is.
        make = getattr(grpc, f"stream_{'stream' if method.server_streaming else 'unary'}_rpc_method_handler")
        return make(answer_stream if method.server_streaming else answer_once)

    async def _pass(self, path: str, context: Any, send: Callable[[Any, float], Awaitable[Any]]) -> Any:
        """Authenticates, sends, and ends the call as the service ended it."""
        request_id = ids.new_id("req")
        span = trace.INVALID_SPAN
        code = "CANCELLED"
        share: str | None = None
        self._running += 1
        try:
            if self._running > self._limit:
                raise ResourceExhausted(Reason.SERVER_BUSY, "the server has too many calls", retry_after_s=1.0)
            metadata = unique(context.invocation_metadata())
            span = _open_span(path, request_id, metadata)
            onward = await self._authenticate(
                metadata, network.peer_address(context.peer()), request_id, _time_left(context), span
            )
            whose = dict(onward).get(call.TENANT, "")
            self._shares.take(whose)
            share = whose
            context.set_trailing_metadata(((_REQUEST_ID, request_id),))
            # What is left now: behind the edge the time must not run out later than before it.
            answer = await send(onward, _time_left(context))
            code = "OK"
            return answer
        except (aio.AioRpcError, TenantryError) as refused:
            if isinstance(refused, Unauthenticated) and not refused.noted:
                # A stranger; whoever showed a credential is in the log by tenancy's own word.
                action = path.rpartition("/")[2]
                self._note(Refusal(Platform(), "", action, "", refused.code, refused.reason.value))
            code, message, details, headers = _refusal(path, refused)
            trailing = ((DETAILS, details), (_REQUEST_ID, request_id), *headers)
            await context.abort(grpc.StatusCode[code], message, trailing)
        finally:
            self._running -= 1
            if share is not None:
                self._shares.give(share)
            if code in FAULTS:
                span.set_status(trace.StatusCode.ERROR)
            if span.is_recording():
                span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
                span.end()

    async def _authenticate(
        self, metadata: dict[str, str], client_address: str, request_id: str, timeout: float, span: trace.Span
    ) -> list[tuple[str, str]]:
        """Asks tenancy whose the credential is, and gives the metadata that the call carries inside."""
        credential = credential_of(metadata)
        with call.entered(call.Call(request_id=request_id, service="gateway")):
            # The connection's own address: whatever headers say of others is the client's word.
            asked = identity_pb.AuthenticateCallerRequest(credential=credential, client_address=client_address)
            answer = await self._identity.AuthenticateCaller(asked, timeout=timeout)
        telemetry.mark(span, answer.tenant, answer.tier)
        await self._admit(answer, request_id, timeout)
        onward = [
            (call.ASSERTION, answer.assertion),
            (call.REQUEST_ID, request_id),
            (call.FORWARDED, "1"),
        ]
        if token := self._mesh.token():
            onward.append((call.SERVICE, token))
        if answer.tenant:
            onward.append((call.TENANT, answer.tenant))
        parent = tracecontext.header(span)
        if parent is not None:
            onward.append((call.TRACEPARENT, parent))
        return onward

    async def _admit(self, found: identity_pb.AuthenticateCallerResponse, request_id: str, timeout: float) -> None:
        """Asks quota whether the caller's limit of calls has room: what Envoy asks by a contract of its own."""
        who = Caller(found.tenant, "", found.tier, "", frozenset(), "")
        with call.entered(call.Call(who, None, request_id, found.assertion, service="gateway")):
            await self._calls.AdmitCall(call_pb.AdmitCallRequest(), timeout=timeout)


def _time_left(context: Any) -> float:
    remaining = context.time_remaining()
    return _LONGEST_S if remaining is None else min(remaining, _LONGEST_S)


async def _only(requests: AsyncIterator[bytes]) -> bytes:
    """The message of a call that has one."""
    async for request in requests:
        return request
    raise InvalidArgument("", "the call carries no request")


def _refusal(
    path: str, refused: aio.AioRpcError | TenantryError
) -> tuple[str, str, bytes, Sequence[tuple[str, str | bytes]]]:
    """Code, message, details and headers for the client: a service's own as they are; of a broken transport, ours."""
    if isinstance(refused, aio.AioRpcError):
        told = refused.trailing_metadata() or ()
        headers = [(key, value) for key, value in told if key in LIMIT_HEADERS]
        for key, value in told:
            if key == DETAILS and isinstance(value, bytes):
                return refused.code().name, refused.details() or "", value, headers
        refused = from_rpc_error(refused, service_of(path) or "")
    status = to_status(refused, report(path, refused) if isinstance(refused, Internal) else "")
    return refused.code, status.message, status.SerializeToString(), limit_headers(refused)


def _open_span(path: str, request_id: str, metadata: dict[str, str]) -> trace.Span:
    """The root of the request's trace. A trace that the client says it has is linked, never continued."""
    span = telemetry.start_span(
        "gateway",
        f"edge {path[1:]}",
        trace.INVALID_SPAN,
        trace.SpanKind.SERVER,
        {"rpc.system": "grpc", telemetry.REQUEST_ID: request_id},
        tracecontext.links(metadata.get(call.TRACEPARENT)),
    )
    # The task, and with it the context, is this call's own: nothing to detach.
    otel.attach(trace.set_span_in_context(span, tracecontext.EMPTY))
    return span
