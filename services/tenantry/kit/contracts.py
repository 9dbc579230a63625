"""The contracts that clients may call: the address for clients must know them all, whatever services its process hosts."""

from importlib import import_module

from tenantry.kit.access import access_of

_FOR_CLIENTS = (
    "cache.v1.cache_service",
    "gateway.v1.gateway_service",
    "insight.v1.trace_service",
    "insight.v1.usage_service",
    "models.v1.model_service",
    "prompts.v1.prompt_service",
    "quota.v1.limit_service",
    "retrieval.v1.document_service",
    "tenancy.v1.audit_service",
    "tenancy.v1.key_service",
    "tenancy.v1.tenant_service",
)


def load() -> None:
    """Makes `access_of` know them. One that is missing above is UNIMPLEMENTED for clients; a test of the mesh calls each."""
    paths()


def paths() -> list[str]:
    """The RPCs that clients may call, public and admin, as `/package.Service/Method` in order."""
    found: list[str] = []
    for name in _FOR_CLIENTS:
        for service in import_module(f"tenantry.api.{name}_pb2").DESCRIPTOR.services_by_name.values():
            found += [f"/{service.full_name}/{method.name}" for method in service.methods]
    return sorted(path for path in found if (access := access_of(path)) and access.audience in ("public", "admin"))
