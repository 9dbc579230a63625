"""Every RPC called by every kind of caller, at the edge and at the service's own address.

The expected status is computed from the RPC's access option alone; an RPC that a contract declares and the matrix has not
makes it fail. Those who are refused must hear exactly why, those who are not must not be refused for who they are.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from google.protobuf import descriptor_pb2

from tenantry.kit import call
from tenantry.kit.access import EDGE
from tenantry.kit.settings import SERVICES
from tenantry.tenancy.roles import AUDITOR, ROLES, TENANT_ADMIN, TENANT_SERVICE
from tests.attack.mesh.conftest import BARE, BARE_SCOPES, TENANT_AUDITOR, Metadata, People
from tests.attack.mesh.contracts import Rpc, declared, request_for, rpcs, send

UNIMPLEMENTED = ("UNIMPLEMENTED", "")
NO_CREDENTIAL = ("UNAUTHENTICATED", "CREDENTIAL_MISSING")
BAD_CREDENTIAL = ("UNAUTHENTICATED", "CREDENTIAL_INVALID")
NO_IDENTITY = ("UNAUTHENTICATED", "SERVICE_IDENTITY_INVALID")
NO_SCOPE = ("PERMISSION_DENIED", "SCOPE_MISSING")
NOT_THEM = ("PERMISSION_DENIED", "CALLER_NOT_ALLOWED")
ADMITTED = ("", "")
REFUSALS = {UNIMPLEMENTED, NO_CREDENTIAL, BAD_CREDENTIAL, NO_IDENTITY, NO_SCOPE, NOT_THEM}
ROLE_NAMES = (*ROLES, BARE, TENANT_AUDITOR)
OF_TENANTS = (TENANT_SERVICE, TENANT_ADMIN, BARE, TENANT_AUDITOR)
SCOPES_OF = {**ROLES, BARE: BARE_SCOPES, TENANT_AUDITOR: ROLES[AUDITOR] & ROLES[TENANT_ADMIN]}
# Admin RPCs that are about an organisation or the platform, whatever scope a tenant's caller has.
ABOVE_TENANTS = frozenset({"CreateOrganisation", "ListOrganisations", "CreateTenant", "DeleteTenant"})

# Streams that tell what happens, and are not sent again as what has no side effects may be.
TELLING = frozenset({"WatchOperation", "WatchQueue"})


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of caller: what it sends, and what it must hear."""

    name: str
    metadata: Callable[[People], Metadata]
    expected: Callable[[Rpc], tuple[str, str]]


def by_role(rpc: Rpc, role: str) -> tuple[str, str]:
    """What a verified caller of this role must hear."""
    if rpc.access.scope not in SCOPES_OF[role]:
        return NO_SCOPE
    return NOT_THEM if rpc.access.audience == "public" and role not in OF_TENANTS else ADMITTED


def at_the_edge(rpc: Rpc, verified: tuple[str, str] | str) -> tuple[str, str]:
    """Mesh RPCs don't exist there; `verified` is a role, or how the credential is refused."""
    if rpc.access.audience == "mesh":
        return UNIMPLEMENTED
    return by_role(rpc, verified) if isinstance(verified, str) else verified


def inside(rpc: Rpc, identity: str | None, role: str | None) -> tuple[str, str]:
    """At the service's own address: with or without a service's identity and a verified caller."""
    access = rpc.access
    if identity == EDGE and EDGE not in access.services:
        return NOT_THEM
    if access.audience == "mesh":
        if identity is None:
            return NO_IDENTITY
        if access.services and identity not in access.services:
            return NOT_THEM
    if access.caller == "required" and role is None:
        return NO_CREDENTIAL
    if access.audience == "mesh":
        return ADMITTED
    assert role is not None
    if identity is not None and identity in access.services:
        return ADMITTED
    return by_role(rpc, role)


def bearer(credential: str) -> Metadata:
    return [("authorization", f"Bearer {credential}")]


def edge_kinds() -> list[Kind]:
    junk = "tnt_" + "x" * 52
    kinds = [
        Kind("nobody", lambda people: [], lambda rpc: at_the_edge(rpc, NO_CREDENTIAL)),
        Kind("junk key", lambda people: bearer(junk), lambda rpc: at_the_edge(rpc, BAD_CREDENTIAL)),
        Kind(
            "somebody with an assertion and no key",
            lambda people: people.assertion(people.own.key),
            lambda rpc: at_the_edge(rpc, NO_CREDENTIAL),
        ),
        Kind(
            "somebody with an assertion as key",
            lambda people: bearer(people.assertion(people.own.key)[0][1]),
            lambda rpc: at_the_edge(rpc, BAD_CREDENTIAL),
        ),
    ]
    for role in ROLE_NAMES:
        kinds.append(Kind(role, lambda people, r=role: bearer(people.keys[r]), lambda rpc, r=role: at_the_edge(rpc, r)))
    for service in (*SERVICES, EDGE):
        kinds.append(
            Kind(
                f"{service}'s token alone",
                lambda people, s=service: [(call.SERVICE, people.tokens[s])],
                lambda rpc: at_the_edge(rpc, NO_CREDENTIAL),
            )
        )
        kinds.append(
            Kind(
                f"{service}'s token with a tenant's key",
                lambda people, s=service: [*bearer(people.keys[TENANT_SERVICE]), (call.SERVICE, people.tokens[s])],
                lambda rpc: at_the_edge(rpc, TENANT_SERVICE),
            )
        )
    return kinds


def inside_kinds() -> list[Kind]:
    kinds = [Kind("nobody", lambda people: [], lambda rpc: inside(rpc, None, None))]
    for role in ROLE_NAMES:
        kinds.append(
            Kind(f"{role} by key", lambda people, r=role: bearer(people.keys[r]), lambda rpc: inside(rpc, None, None))
        )
        kinds.append(
            Kind(
                f"{role} by assertion",
                lambda people, r=role: people.assertion(people.keys[r]),
                lambda rpc, r=role: inside(rpc, None, r),
            )
        )
    for service in (*SERVICES, EDGE):
        kinds.append(
            Kind(
                service,
                lambda people, s=service: [(call.SERVICE, people.tokens[s])],
                lambda rpc, s=service: inside(rpc, s, None),
            )
        )
        for role in (TENANT_SERVICE, TENANT_ADMIN, BARE):
            kinds.append(
                Kind(
                    f"{service} for a {role}",
                    lambda people, s=service, r=role: [
                        (call.SERVICE, people.tokens[s]),
                        *people.assertion(people.keys[r]),
                    ],
                    lambda rpc, s=service, r=role: inside(rpc, s, r),
                )
            )
    return kinds


def judge(rpc: Rpc, kind: Kind, heard: tuple[str, str]) -> str:
    """What is wrong, empty for nothing."""
    expected = kind.expected(rpc)
    if expected == ADMITTED:
        # What only an organisation's admin or an operator may do is refused by the use case, after the scope.
        if heard == NOT_THEM and rpc.method.name in ABOVE_TENANTS and kind.name.startswith(OF_TENANTS):
            return ""
        return f"{rpc} refused {kind.name} with {heard}" if heard in REFUSALS else ""
    return "" if heard == expected else f"{rpc} told {kind.name} {heard}, not {expected}"


def test_every_declared_rpc_is_in_the_matrix() -> None:
    tried = {rpc.path for rpc in rpcs()}
    assert declared() <= tried
    assert len(declared()) > 50


def test_an_auditor_reaches_nothing_that_changes_anything() -> None:
    no_side_effects = descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS
    changing = [
        str(rpc)
        for rpc in rpcs()
        if rpc.access.scope in ROLES[AUDITOR]
        and rpc.method.GetOptions().idempotency_level != no_side_effects
        and rpc.method.name not in TELLING
    ]
    assert not changing


def test_an_administrators_scope_reaches_no_tenants_content() -> None:
    """What is a tenant's own (documents, prompts' results, answers) has no RPC that names a tenant: the edge's matrix tries
    each of them as an organisation's admin and as an operator."""
    content = {"generate", "documents.read", "documents.write"}
    named = [str(rpc) for rpc in rpcs() if rpc.access.scope in content and rpc.access.audience != "public"]
    assert not named


@pytest.mark.parametrize("kind", edge_kinds(), ids=lambda kind: kind.name)
def test_an_rpc_called_at_the_edge_by_somebody_who_may_not(people: People, kind: Kind) -> None:
    channel, metadata = people.channel(people.mesh.edge), kind.metadata(people)
    wrong = [
        judge(rpc, kind, send(channel, rpc, request_for(rpc, people.own.tenant, people.own.key), metadata))
        for rpc in rpcs()
    ]
    assert not [one for one in wrong if one]


@pytest.mark.parametrize("kind", inside_kinds(), ids=lambda kind: kind.name)
def test_an_rpc_called_at_its_service_by_somebody_who_may_not(people: People, kind: Kind) -> None:
    metadata = kind.metadata(people)
    wrong: list[str] = []
    for rpc in rpcs():
        channel = people.channel(people.mesh.addresses[rpc.service])
        body = request_for(rpc, people.own.tenant, people.own.key)
        wrong.append(judge(rpc, kind, send(channel, rpc, body, [*metadata, (call.TARGET, rpc.service)])))
    assert not [one for one in wrong if one]
