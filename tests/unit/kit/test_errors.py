"""The error tree: its reasons are the contract's, and each class says what a client is told."""

import inspect

import pytest
from google.rpc import code_pb2

from tenantry.api.common.v1 import error_reason_pb2
from tenantry.kit import errors
from tenantry.kit.errors import Internal, InvalidArgument, Reason, ResourceExhausted, StoreUnavailable, TenantryError

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, TenantryError)]


def test_reasons_are_the_names_of_the_contract() -> None:
    names = set(error_reason_pb2.ErrorReason.DESCRIPTOR.values_by_name) - {"ERROR_REASON_UNSPECIFIED"}
    assert {f"ERROR_REASON_{reason.value}" for reason in Reason} == names


@pytest.mark.parametrize(
    "kind", [kind for kind in CLASSES if kind is not TenantryError], ids=lambda kind: kind.__name__
)
def test_every_class_has_a_code_of_grpc_and_stands_in_the_drawing(kind: type[TenantryError]) -> None:
    assert kind.code in code_pb2.Code.DESCRIPTOR.values_by_name
    assert kind.__name__ in (errors.__doc__ or "")


def test_an_invalid_argument_names_the_field_in_message_and_violations() -> None:
    error = InvalidArgument("limits.tokens", "is negative")
    assert error.message == "limits.tokens: is negative"
    assert error.violations == [("limits.tokens", "is negative")]


def test_several_invalid_fields_are_told_at_once() -> None:
    error = InvalidArgument.many([("a", "is missing"), ("b", "is too long")])
    assert error.message == "a: is missing; b: is too long"
    assert error.reason is Reason.INVALID_FIELD
    assert [field for field, _ in error.violations] == ["a", "b"]


def test_a_message_that_names_no_field_has_no_violation() -> None:
    assert InvalidArgument("", "the message is too large", reason=Reason.TOO_LARGE).violations == []


def test_a_store_that_is_away_is_transient_and_named_by_our_name_for_it() -> None:
    error = StoreUnavailable("books")
    assert error.transient
    assert error.metadata == {"store": "books"}
    assert error.retry_after_s == 1.0
    assert not errors.StoreFailed("the script is unknown").transient


def test_violations_are_the_errors_own_list() -> None:
    given = [("tenant:acme", "60 requests/min")]
    error = ResourceExhausted(Reason.REQUESTS_PER_MINUTE, "too many", violations=given)
    given.clear()
    assert error.violations == [("tenant:acme", "60 requests/min")]


def test_internal_needs_no_reason_and_keeps_an_id_that_came_with_it() -> None:
    error = Internal("the row vanished", error_id="abc")
    assert (error.reason, error.error_id) == (Reason.INTERNAL, "abc")
