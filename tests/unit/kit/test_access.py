"""The access rule of an RPC: read from its contract, and what it lets through."""

import pytest

from tenantry.kit.access import ANY_SERVICE, OPEN, Access, Verified, access_of, admit, method_of, service_of
from tenantry.kit.caller import Caller
from tenantry.kit.errors import PermissionDenied, Reason, Unauthenticated
from tests.harness.protos import echo_pb2  # noqa: F401 - its descriptors

ECHO = "/tenantry.api.echo.v1.EchoService/"
PUBLIC = Access("public", "generate", "required", ("gateway",))


def caller(*scopes: str) -> Caller:
    return Caller("acme", "north", "free", "key:1", frozenset(scopes), "1")


def test_the_rule_is_read_from_the_contract() -> None:
    assert access_of(ECHO + "Echo") == PUBLIC
    assert access_of(ECHO + "Govern") == Access("admin", "keys.write", "required", ())
    assert access_of(ECHO + "Settle") == Access("mesh", "", "receipt", ("gateway",))
    assert access_of(ECHO + "Gossip") == Access("mesh", "", "none", ())


@pytest.mark.parametrize("method", ["Absent", "Audienceless", "Scopeless", "Callerless"])
def test_a_missing_or_half_a_rule_is_none(method: str) -> None:
    assert access_of(f"/tenantry.api.echo.v1.RulelessService/{method}") is None


@pytest.mark.parametrize("path", ["", "/", "/nowhere.Service/Method", "no path", ECHO, ECHO + "Nothing"])
def test_an_unknown_path_has_no_rule(path: str) -> None:
    assert access_of(path) is None


@pytest.mark.parametrize(
    "path",
    [
        ECHO + "Echo\0a",
        (ECHO + "Echo").removeprefix("/"),
        "/tenantry.api.echo.v1/EchoService.Echo",
        ECHO + "Echo/",
    ],
)
def test_an_rpc_has_no_path_but_its_own(path: str) -> None:
    assert method_of(path) is None
    assert access_of(path) is None


def test_foreign_rpcs_have_their_rule_in_the_table() -> None:
    assert access_of("/grpc.health.v1.Health/Check") == OPEN
    assert access_of("/opentelemetry.proto.collector.trace.v1.TraceService/Export") == ANY_SERVICE


@pytest.mark.parametrize(
    ("path", "service"),
    [
        (ECHO + "Echo", "echo"),
        ("/tenantry.api.quota.v1.ReservationService/ReserveQuota", "quota"),
        ("/tenantry.api.lifecycle.v1.LifecycleService/ProvisionTenant", None),
        ("/grpc.health.v1.Health/Check", None),
        ("", None),
        ("/tenantry.api", None),
    ],
)
def test_the_owning_service_is_in_the_path(path: str, service: str | None) -> None:
    assert service_of(path) == service


def test_a_caller_with_the_scope_is_admitted() -> None:
    admit(PUBLIC, Verified(caller("generate"), None))


def test_a_caller_without_the_scope_is_refused_and_told_which() -> None:
    with pytest.raises(PermissionDenied) as refused:
        admit(PUBLIC, Verified(caller("documents.read"), None))
    assert refused.value.reason is Reason.SCOPE_MISSING
    assert refused.value.metadata == {"scope": "generate"}


def test_a_named_service_may_call_for_a_caller_without_the_scope() -> None:
    admit(PUBLIC, Verified(caller(), "gateway"))
    with pytest.raises(PermissionDenied):
        admit(PUBLIC, Verified(caller(), "insight"))


def test_a_named_service_alone_is_no_caller() -> None:
    with pytest.raises(Unauthenticated) as refused:
        admit(PUBLIC, Verified(None, "gateway"))
    assert refused.value.reason is Reason.CREDENTIAL_MISSING


@pytest.mark.parametrize("caller_rule", ["none", "receipt"])
def test_a_mesh_rpc_rests_on_the_service_identity(caller_rule: str) -> None:
    rule = Access("mesh", "", caller_rule, ("gateway",))  # type: ignore[arg-type]
    admit(rule, Verified(None, "gateway"))
    with pytest.raises(PermissionDenied) as refused:
        admit(rule, Verified(None, "insight"))
    assert refused.value.reason is Reason.CALLER_NOT_ALLOWED
    with pytest.raises(Unauthenticated) as unknown:
        admit(rule, Verified(caller("generate"), None))
    assert unknown.value.reason is Reason.SERVICE_IDENTITY_INVALID


def test_a_mesh_rpc_that_names_no_service_is_for_any_but_not_for_outsiders() -> None:
    admit(ANY_SERVICE, Verified(None, "insight"))
    with pytest.raises(Unauthenticated):
        admit(ANY_SERVICE, Verified(caller("generate"), None))


def test_a_mesh_rpc_may_also_need_a_caller() -> None:
    rule = Access("mesh", "", "required", ("gateway",))
    admit(rule, Verified(caller(), "gateway"))
    with pytest.raises(Unauthenticated):
        admit(rule, Verified(None, "gateway"))


def test_an_open_rpc_asks_for_nothing() -> None:
    admit(OPEN, Verified(None, None))
