"""The scopes there are, and bundles of them for the people and programs that use a key. Pure values."""

from collections.abc import Mapping

OPERATOR = "operator"
ORGANISATION_ADMIN = "organisation-admin"
TENANT_ADMIN = "tenant-admin"
TENANT_SERVICE = "tenant-service"
AUDITOR = "auditor"

# What a product's back end needs to serve its tenant.
_TENANT_SERVICE = frozenset(
    {"generate", "documents.read", "documents.write", "prompts.read", "models.read", "cache.read"}
)
_TENANT_ADMIN = _TENANT_SERVICE | {
    "prompts.write",
    "models.write",
    "routing.write",
    "cache.write",
    "usage.read",
    "traces.read",
    "limits.read",
    "keys.read",
    "keys.write",
    "tenants.read",
    "audit.read",
}
# An organisation pays for its limits, so it reads them and does not set them.
_ORGANISATION_ADMIN = _TENANT_ADMIN | {"tenants.write", "organisations.read"}
_OPERATOR = _ORGANISATION_ADMIN | {"organisations.write", "limits.write"}
_AUDITOR = frozenset(
    {
        "audit.read",
        "keys.read",
        "limits.read",
        "models.read",
        "organisations.read",
        "prompts.read",
        "tenants.read",
        "usage.read",
    }
)

ROLES: Mapping[str, frozenset[str]] = {
    OPERATOR: _OPERATOR,
    ORGANISATION_ADMIN: _ORGANISATION_ADMIN,
    TENANT_ADMIN: _TENANT_ADMIN,
    TENANT_SERVICE: _TENANT_SERVICE,
    AUDITOR: _AUDITOR,
}

# An operator may give every right there is, since nobody can give one that he lacks.
SCOPES = _OPERATOR
