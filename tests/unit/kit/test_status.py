"""Errors become statuses and come back the same; what no code of ours made becomes something sensible."""

import base64
from typing import Any, cast

import grpc
import pytest
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import aio
from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit.errors import (
    Aborted,
    AlreadyExists,
    DeadlineExceeded,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    StoreUnavailable,
    TenantryError,
    Unauthenticated,
    Unavailable,
)
from tenantry.kit.status import DETAILS, DOMAIN, MAX_STATUS_BYTES, from_rpc_error, to_status

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
reasons = st.sampled_from(list(Reason))
metadata = st.dictionaries(st.sampled_from(["kind", "model", "version", "scope"]), text)
pairs = st.lists(st.tuples(text.filter(bool), text), max_size=8)
retry = st.one_of(st.none(), st.integers(0, 10_000).map(lambda ms: ms / 1000))


@st.composite
def refusals(draw: st.DrawFn) -> TenantryError:
    """Any error that a client can be told of in full."""
    reason, message, more = draw(reasons), draw(text), draw(metadata)
    kind = draw(
        st.sampled_from(
            [
                Unauthenticated,
                PermissionDenied,
                NotFound,
                AlreadyExists,
                FailedPrecondition,
                Aborted,
                Unavailable,
                InvalidArgument,
                ResourceExhausted,
                DeadlineExceeded,
            ]
        )
    )
    if kind is InvalidArgument:
        return InvalidArgument.many(draw(pairs), reason=reason, message=message or "wrong", **more)
    if kind is ResourceExhausted:
        return ResourceExhausted(reason, message, retry_after_s=draw(retry), violations=draw(pairs), **more)
    if kind is Unavailable:
        return Unavailable(reason, message, retry_after_s=draw(retry), **more)
    if kind is DeadlineExceeded:
        return DeadlineExceeded(reason, message)
    return cast(Any, kind)(reason, message, **more)


def failure_of(status: status_pb2.Status) -> aio.AioRpcError:
    """What a client's call fails with when a server ends it with `status`."""
    code = grpc.StatusCode[code_pb2.Code.Name(status.code)]
    trailing = aio.Metadata(("x-else", "1"), (DETAILS, status.SerializeToString()))
    return aio.AioRpcError(code, aio.Metadata(), trailing, details=status.message)


def bare(code: grpc.StatusCode, details: str = "ipv4:10.0.0.7:7701: Connection refused") -> aio.AioRpcError:
    """A status that carries no details of ours."""
    return aio.AioRpcError(code, aio.Metadata(), aio.Metadata(), details=details)


@given(refusals())
def test_an_error_comes_back_as_it_was(error: TenantryError) -> None:
    back = from_rpc_error(failure_of(to_status(error)))
    assert type(back) is type(error)
    assert (back.reason, back.message, back.metadata) == (error.reason, error.message, error.metadata)
    assert getattr(back, "violations", None) == getattr(error, "violations", None)
    assert getattr(back, "retry_after_s", None) == getattr(error, "retry_after_s", None)


@given(refusals())
def test_an_error_passes_through_a_service_unchanged(error: TenantryError) -> None:
    once = to_status(error)
    assert to_status(from_rpc_error(failure_of(once))) == once


def test_a_subclass_comes_back_as_the_class_that_has_its_code() -> None:
    back = from_rpc_error(failure_of(to_status(StoreUnavailable("books"))))
    assert type(back) is Unavailable
    assert back.reason is Reason.STORE_UNAVAILABLE
    assert back.metadata == {"store": "books"}


def test_a_client_sees_a_generic_sentence_and_an_id_for_a_fault_of_ours() -> None:
    status = to_status(Internal("the row canary-7 vanished"), "id-1")
    assert b"canary" not in status.SerializeToString()
    back = from_rpc_error(failure_of(status))
    assert isinstance(back, Internal)
    assert back.error_id == "id-1"


def test_the_id_of_a_fault_stays_the_same_on_its_way_out() -> None:
    inner = from_rpc_error(failure_of(to_status(Internal("x"), "first")))
    outer = from_rpc_error(failure_of(to_status(inner, "second")))
    assert isinstance(outer, Internal)
    assert outer.error_id == "first"


def test_many_violations_are_cut_to_what_trailers_carry() -> None:
    error = InvalidArgument.many([(f"documents[{n}].text", "is not UTF-8" * 10) for n in range(10_000)])
    status = to_status(error)
    assert len(base64.b64encode(status.SerializeToString())) < 1.4 * MAX_STATUS_BYTES
    back = from_rpc_error(failure_of(status))
    assert isinstance(back, InvalidArgument)
    assert 5 < len(back.violations) < 10_000
    assert back.violations[0] == error.violations[0]


@pytest.mark.parametrize(
    ("failure", "kind", "reason"),
    [
        (bare(grpc.StatusCode.UNAVAILABLE), Unavailable, Reason.SERVICE_UNAVAILABLE),
        (bare(grpc.StatusCode.CANCELLED), Unavailable, Reason.SERVICE_UNAVAILABLE),
        (bare(grpc.StatusCode.DEADLINE_EXCEEDED), DeadlineExceeded, Reason.DEADLINE),
        (bare(grpc.StatusCode.UNIMPLEMENTED), Internal, Reason.INTERNAL),
        (bare(grpc.StatusCode.UNKNOWN), Internal, Reason.INTERNAL),
        (bare(grpc.StatusCode.NOT_FOUND), NotFound, Reason.NOT_FOUND),
        (bare(grpc.StatusCode.RESOURCE_EXHAUSTED), ResourceExhausted, Reason.SERVER_BUSY),
        (
            bare(grpc.StatusCode.RESOURCE_EXHAUSTED, "CLIENT: Received message larger than max (9 vs. 4)"),
            InvalidArgument,
            Reason.TOO_LARGE,
        ),
    ],
)
def test_a_failure_of_the_transport_becomes_an_error_without_its_words(
    failure: aio.AioRpcError, kind: type[TenantryError], reason: Reason
) -> None:
    error = from_rpc_error(failure, "quota")
    assert type(error) is kind
    assert error.reason is reason
    assert "10.0.0.7" not in error.message


def test_every_code_of_grpc_becomes_an_error() -> None:
    for code in grpc.StatusCode:
        if code is not grpc.StatusCode.OK:
            assert isinstance(from_rpc_error(bare(code)), TenantryError)


def foreign(reason: str, domain: str) -> aio.AioRpcError:
    status = status_pb2.Status(code=code_pb2.NOT_FOUND, message="canary")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=domain))
    return failure_of(status)


@pytest.mark.parametrize(
    "failure",
    [
        foreign("NOT_FOUND", "googleapis.com"),
        foreign("FROM_A_LATER_VERSION", DOMAIN),
        aio.AioRpcError(grpc.StatusCode.NOT_FOUND, aio.Metadata(), aio.Metadata((DETAILS, b"\xff\xff"))),
    ],
    ids=["another domain", "an unknown reason", "details that can't be parsed"],
)
def test_details_that_are_not_ours_are_not_believed(failure: aio.AioRpcError) -> None:
    error = from_rpc_error(failure)
    assert type(error) is NotFound
    assert "canary" not in error.message
