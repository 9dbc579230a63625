"""Every exception class of both SDKs and of their HTTP client has a meaning."""

import inspect
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tenantry.kit.errors import FailedPrecondition, ResourceExhausted, TenantryError, Unavailable
from tenantry.models import provider_anthropic, provider_openai
from tenantry.models.sdk_faults import fault, http_meanings, meaning_of

# What parts of the SDKs raise that are not used here: other ways to authenticate, raw responses read twice, tools, web
# sockets and web hooks, other makers' clouds.
UNUSED = {
    "OpenAIError",
    "AnthropicError",
    "APIRemovedInV1",
    "InvalidWebhookSignatureError",
    "MissingDependencyError",
    "MutuallyExclusiveAuthError",
    "StreamAlreadyConsumed",
    "SubjectTokenProviderError",
    "ToolsetClosedError",
    "ToolsetConfigError",
    "ToolsetContractError",
    "ToolsetUsageError",
    "ToolsetsFixedError",
    "WebSocketConnectionClosedError",
    "WebSocketQueueFullError",
    "WorkloadIdentityError",
    "_AmbiguousModuleClientUsageError",
}
REQUEST = httpx2.Request("POST", "https://llm.example.com/v1")


def classes(root: type[Any]) -> Iterator[type[Any]]:
    yield root
    for below in root.__subclasses__():
        yield from classes(below)


SDKS = [
    (openai.OpenAIError, provider_openai.meanings),
    (anthropic.AnthropicError, provider_anthropic.meanings),
]


@pytest.mark.parametrize(("root", "meanings"), SDKS, ids=["openai", "anthropic"])
def test_each_exception_of_the_sdk_has_a_meaning_nearer_than_its_root(root: type[Any], meanings: Any) -> None:
    table = {known: meaning for known, meaning in meanings().items() if known is not root}
    found = {one for one in classes(root) if one.__module__.split(".")[0] in ("openai", "anthropic")}
    unmapped = {one.__name__ for one in found if not any(ancestor in table for ancestor in one.__mro__)}
    assert len(found) > 10 and unmapped <= UNUSED


def test_each_exception_of_the_http_client_has_a_meaning() -> None:
    raised = {one for _, one in inspect.getmembers(httpx2, inspect.isclass) if issubclass(one, Exception)}
    # Abstract, raised by what is not used here (raise_for_status, cookies), or a warning.
    unused = {"HTTPError", "RequestError", "HTTPStatusError", "CookieConflict", "SSEError"}
    unmapped = {
        one.__name__
        for one in raised
        if not issubclass(one, Warning) and meaning_of(one.__new__(one), http_meanings()) is None
    }
    assert unmapped <= unused


def status_error(module: Any, status: int, body: Any = None, **headers: str) -> Exception:
    response = httpx2.Response(status, headers=headers, request=REQUEST)
    return module.APIStatusError("SECRET", response=response, body=body)


@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [
        (400, FailedPrecondition, None),
        (401, FailedPrecondition, None),
        (402, FailedPrecondition, None),
        (403, FailedPrecondition, None),
        (404, FailedPrecondition, None),
        (408, Unavailable, "failed"),
        (413, FailedPrecondition, None),
        (422, FailedPrecondition, None),
        (429, ResourceExhausted, None),
        (301, Unavailable, "garbage"),
        (500, Unavailable, "failed"),
        (502, Unavailable, "failed"),
        (503, Unavailable, "overloaded"),
        (529, Unavailable, "overloaded"),
    ],
)
@pytest.mark.parametrize("module", [openai, anthropic])
def test_each_status_has_its_error(module: Any, status: int, expected: type[TenantryError], kind: str | None) -> None:
    meanings = (provider_openai if module is openai else provider_anthropic).meanings()
    error = fault("p", status_error(module, status), meanings, begun=False)
    assert type(error) is expected and "SECRET" not in str(error)
    assert error.metadata.get("kind") == kind


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("overloaded_error", Unavailable),
        ("rate_limit_error", ResourceExhausted),
        ("api_error", Unavailable),
        ("invalid_request_error", FailedPrecondition),
        ("something_new", Unavailable),
    ],
)
def test_an_error_told_in_a_stream_is_read_by_its_type(told: str, expected: type[TenantryError]) -> None:
    error = status_error(anthropic, 200, {"type": "error", "error": {"type": told, "message": "SECRET"}})
    assert type(fault("p", error, provider_anthropic.meanings(), begun=True)) is expected


def test_a_fault_that_is_ours_is_not_the_providers() -> None:
    ours = RuntimeError("a bug")
    assert fault("p", ours, provider_openai.meanings(), begun=False) is ours
    assert isinstance(fault("p", ValueError("x"), provider_openai.meanings(), begun=False), Unavailable)


def test_a_connection_that_breaks_is_cut_once_the_answer_had_begun() -> None:
    for broken in (openai.APIConnectionError(request=REQUEST), httpx2.RemoteProtocolError("SECRET")):
        for begun, kind in ((False, "failed"), (True, "cut")):
            error = fault("p", broken, provider_openai.meanings(), begun=begun)
            assert isinstance(error, Unavailable) and error.metadata["kind"] == kind
