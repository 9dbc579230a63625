"""The contracts that clients may call: the address for clients must know them all, whatever services its process hosts."""

from functools import cache
from importlib import import_module
from types import ModuleType

from tenantry.kit.access import access_of

_FOR_CLIENTS = (
    "cache.v1.cache_service",
    "gateway.v1.gateway_service",
    "insight.v1.trace_service",
    "insight.v1.usage_service",
    "models.v1.model_service",
    "prompts.v1.prompt_service",
    "quota.v1.limit_service",
    "quota.v1.queue_service",
    "retrieval.v1.document_service",
    "tenancy.v1.audit_service",
    "tenancy.v1.issuer_service",
    "tenancy.v1.key_service",
    "tenancy.v1.tenant_service",
)


def load() -> list[ModuleType]:
    """Makes `access_of` know them. One that is missing above is UNIMPLEMENTED for clients; a test of the mesh calls each."""
    return [import_module(f"tenantry.api.{name}_pb2") for name in _FOR_CLIENTS]


@cache
def administrators_rpcs(service: str) -> frozenset[str]:
    """The names of the RPCs of a service's own contracts that are for administrators."""
    return frozenset(
        method.name
        for module, name in zip(load(), _FOR_CLIENTS, strict=True)
        if name.partition(".")[0] == service
        for described in module.DESCRIPTOR.services_by_name.values()
        for method in described.methods
        if (access := access_of(f"/{described.full_name}/{method.name}")) is not None and access.audience == "admin"
    )


def paths() -> list[str]:
    """The RPCs that clients may call, public and admin, as `/package.Service/Method` in order."""
    found: list[str] = []
    for module in load():
        for service in module.DESCRIPTOR.services_by_name.values():
            found += [f"/{service.full_name}/{method.name}" for method in service.methods]
    return sorted(path for path in found if (access := access_of(path)) and access.audience in ("public", "admin"))
