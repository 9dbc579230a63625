"""Every RPC that the mesh has, found in the contracts themselves, and how one is called with bytes."""

from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from tenantry.kit.access import FOREIGN, Access, access_of, service_of
from tenantry.kit.settings import SERVICES
from tenantry.kit.status import DETAILS, from_rpc_error

_PROTOS = Path(__file__).parents[3] / "protos"
# Services that keep something of a tenant, and so serve the lifecycle contract.
WITH_TENANTS = ("quota", "retrieval", "cache", "prompts", "models", "insight")
_LIFECYCLE = "/tenantry.api.lifecycle.v1.LifecycleService/"
# In these a tenant that is named would be made or deleted: they are called without one.
_NOT_NAMED = (_LIFECYCLE, "/tenantry.api.tenancy.v1.TenantService/")
_ANSWER_S = 10.0
# A stream that was admitted and has nothing to say yet.
_SILENT_S = 1.0


@dataclass(frozen=True, slots=True)
class Rpc:
    """An RPC at one service. `access` is its rule."""

    path: str
    service: str
    access: Access

    @property
    def method(self) -> MethodDescriptor:
        service, _, name = self.path[1:].partition("/")
        return descriptor_pool.Default().FindMethodByName(f"{service}.{name}")

    def __str__(self) -> str:
        return f"{self.service}:{self.path.rpartition('.')[2]}"


@cache
def declared() -> frozenset[str]:
    """The paths of all RPCs in the contracts, whether they have a rule or not."""
    paths: set[str] = set()
    for proto in sorted(_PROTOS.rglob("*.proto")):
        module = ".".join(proto.relative_to(_PROTOS).with_suffix("").parts) + "_pb2"
        for service in import_module(module).DESCRIPTOR.services_by_name.values():
            paths |= {f"/{service.full_name}/{method.name}" for method in service.methods}
    return frozenset(paths)


# Foreign RPCs, whose paths name no service, with the one that has each.
_FOREIGN_AT = {
    "/envoy.service.auth.v3.Authorization/Check": "tenancy",
    "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit": "quota",
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export": "insight",
}


@cache
def rpcs() -> tuple[Rpc, ...]:
    """Each RPC at each service that has it."""
    found: list[Rpc] = []
    for path in sorted(declared()):
        access = access_of(path)
        if access is None:
            raise LookupError(f"{path} has no complete access option")
        service = service_of(path)
        owners = WITH_TENANTS if path.startswith(_LIFECYCLE) else (service or _FOREIGN_AT[path],)
        for owner in owners:
            assert owner in SERVICES, path
            found.append(Rpc(path, str(owner), access))
    export = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    import_module("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    found.append(Rpc(export, _FOREIGN_AT[export], FOREIGN[export]))
    return tuple(found)


def request_for(rpc: Rpc, tenant: str, credential: str) -> bytes:
    """A request that is well formed and harmless; where it may name a tenant, it names this one."""
    message = GetMessageClass(rpc.method.input_type)()
    if not rpc.path.startswith(_NOT_NAMED):
        _name(message, tenant)
    if rpc.method.name == "AuthenticateCaller":
        message.credential = credential  # pyright: ignore[reportAttributeAccessIssue]
    return message.SerializeToString()


def _name(message: Any, tenant: str, depth: int = 2) -> None:
    for one in message.DESCRIPTOR.fields:
        if one.name == "tenant" and one.type == FieldDescriptor.TYPE_STRING and tenant:
            setattr(message, one.name, tenant)
        elif one.type == FieldDescriptor.TYPE_MESSAGE and not one.is_repeated and depth and one.name == "model":
            _name(getattr(message, one.name), tenant, depth - 1)


def send(channel: grpc.Channel, rpc: Rpc, body: bytes, metadata: list[tuple[str, str]]) -> tuple[str, str]:
    """The status code's name, and the reason that Tenantry gives for it. An answer, or none yet in a stream, is OK."""
    method = rpc.method
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(channel, shape)(rpc.path)
    request = iter([body]) if method.client_streaming else body
    timeout = _SILENT_S if method.server_streaming else _ANSWER_S
    try:
        if method.server_streaming:
            answers = call(request, metadata=metadata, timeout=timeout)
            next(answers, None)
            answers.cancel()
        else:
            call(request, metadata=metadata, timeout=timeout)
    except grpc.RpcError as error:
        return outcome_of(error, silent=method.server_streaming)
    return "OK", ""


def outcome_of(error: Any, *, silent: bool = False) -> tuple[str, str]:
    """Code and reason of a refusal."""
    code = error.code().name
    if silent and code == "DEADLINE_EXCEEDED":
        return "OK", ""
    detailed = any(key == DETAILS for key, _ in error.trailing_metadata() or ())
    return code, from_rpc_error(error, "").reason.value if detailed else ""
