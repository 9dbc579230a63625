"""Long work on a tenant, watched until it has ended."""

from collections.abc import Iterator
from typing import Any

from tenantry.api.tenancy.v1 import tenant_service_pb2 as pb
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.cli.connection import Connection

_LONGEST_S = 300.0


def watch(connection: Connection, operation: str) -> Iterator[Any]:
    """The states of an operation until it has ended."""
    request = pb.WatchOperationRequest(operation=operation)
    for update in connection.call(TenantServiceStub, "WatchOperation", request, timeout_s=_LONGEST_S):
        yield update.operation
