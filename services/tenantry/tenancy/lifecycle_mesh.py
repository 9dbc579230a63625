"""Asks the services over the mesh, by the lifecycle contract that each implements."""

from tenantry.api.lifecycle.v1 import lifecycle_service_pb2 as pb
from tenantry.api.lifecycle.v1 import lifecycle_service_pb2_grpc as grpc_pb
from tenantry.kit import owner, telemetry
from tenantry.kit.channel import Mesh
from tenantry.tenancy.lifecycle import CALL_S


class MeshLifecycle:
    """`lifecycle.Lifecycle` over channels."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh

    async def provision(self, owner: owner.Tenant, service: str, tier: str) -> str:
        request = pb.ProvisionTenantRequest(tenant=owner.id, organisation=owner.organisation, tier=tier)
        with telemetry.span(f"provision {service}"):
            telemetry.set_tenant(owner.id, tier)
            return (await self._stub(service).ProvisionTenant(request, timeout=CALL_S)).did

    async def deprovision(self, owner: owner.Tenant, service: str) -> str:
        request = pb.DeprovisionTenantRequest(tenant=owner.id, organisation=owner.organisation)
        with telemetry.span(f"deprovision {service}"):
            telemetry.set_tenant(owner.id, "")
            return (await self._stub(service).DeprovisionTenant(request, timeout=CALL_S)).did

    def _stub(self, service: str) -> "grpc_pb.LifecycleServiceStub":
        return grpc_pb.LifecycleServiceStub(self._mesh.channel(service))
