"""What a refusal means to a person."""

from typing import Any

import grpc
import pytest
from google.rpc import status_pb2  # pyright: ignore[reportMissingTypeStubs]

from tenantry.cli.refusals import ADVICE, explain
from tenantry.kit.errors import Internal, InvalidArgument, NotFound, Reason, ResourceExhausted, TenantryError
from tenantry.kit.status import DETAILS, to_status


class Refused(grpc.RpcError):
    """A refusal as a blocking stub raises it."""

    def __init__(self, code: str, details: str, status: status_pb2.Status | None) -> None:
        super().__init__()
        self._code = grpc.StatusCode[code]
        self._details = details
        self._trailing = ((DETAILS, status.SerializeToString()),) if status else ()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._trailing


def refused(error: TenantryError, error_id: str = "") -> Refused:
    status = to_status(error, error_id)
    return Refused(error.code, status.message, status)


def test_every_reason_has_advice() -> None:
    assert set(ADVICE) == {reason.value for reason in Reason}


def test_a_refusal_says_what_why_and_what_next() -> None:
    what, next_step = explain(refused(NotFound(Reason.NOT_FOUND, "there is no such prompt", kind="prompt")))
    assert what == "there is no such prompt (NOT_FOUND, NOT_FOUND)"
    assert next_step == ADVICE["NOT_FOUND"]


def test_a_limit_says_when_to_come_back() -> None:
    error = ResourceExhausted(Reason.REQUESTS_PER_MINUTE, "too many requests", retry_after_s=1.5)
    assert "again in 1.5 s" in explain(refused(error))[0]


def test_a_wrong_field_is_named() -> None:
    assert "query.question" in explain(refused(InvalidArgument("query.question", "is missing")))[0]


def test_a_fault_gives_its_error_id_and_nothing_of_its_cause() -> None:
    what, _ = explain(refused(Internal("the secret cause"), "e-17"))
    assert "e-17" in what and "secret" not in what


@pytest.mark.parametrize(("code", "start"), [("UNAVAILABLE", "the mesh does not answer"), ("UNKNOWN", "gone")])
def test_what_is_not_ours_is_said_all_the_same(code: str, start: str) -> None:
    assert explain(Refused(code, "gone", None))[0].startswith(start)
