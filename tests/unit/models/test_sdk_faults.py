"""Every exception of both SDKs and of their HTTP client has a meaning, and comes out without a provider's words."""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tenantry.kit.errors import FailedPrecondition, ResourceExhausted, TenantryError, Unavailable
from tenantry.models import faults, provider_anthropic, provider_openai
from tenantry.models.sdk_faults import SHAPE, Meanings, fault, http_meanings, meaning_of

WORDS = "PROVIDERS-OWN-WORDS"
SDKS: dict[str, tuple[ModuleType, Callable[[], Meanings]]] = {
    "openai": (openai, provider_openai.meanings),
    "anthropic": (anthropic, provider_anthropic.meanings),
}
# Of the SDKs' parts that we don't call.
ELSEWHERE = {"InvalidWebhookSignatureError"}
REQUEST = httpx2.Request("POST", f"https://api.example/{WORDS}")


def subclasses(of: type[BaseException]) -> Iterator[type[BaseException]]:
    for one in of.__subclasses__():
        yield one
        yield from subclasses(one)


def exceptions_of(module: ModuleType) -> list[type[BaseException]]:
    named = {one for _, one in inspect.getmembers(module, inspect.isclass) if issubclass(one, Exception)}
    root = module.OpenAIError if module is openai else module.AnthropicError
    loaded = {one for one in subclasses(root) if one.__module__.partition(".")[0] == module.__name__}
    return sorted(named | loaded, key=lambda one: one.__name__)


@pytest.mark.parametrize("name", SDKS)
def test_every_exception_of_the_sdk_has_a_meaning(name: str) -> None:
    module, meanings = SDKS[name]
    found = exceptions_of(module)
    assert len(found) > 12
    missing = [
        one.__name__ for one in found if meaning_of(one.__new__(one), meanings(), http_meanings(), SHAPE) is None
    ]
    assert set(missing) <= ELSEWHERE


def test_every_exception_of_the_http_client_has_a_meaning() -> None:
    known = (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL)
    raised = [
        one
        for _, one in inspect.getmembers(httpx2, inspect.isclass)
        if issubclass(one, known) and one not in {httpx2.HTTPError, httpx2.RequestError, httpx2.HTTPStatusError}
    ]
    assert len(raised) > 15
    assert [one.__name__ for one in raised if meaning_of(one.__new__(one), http_meanings(), SHAPE) is None] == []


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("name", SDKS)
def test_no_exception_of_the_sdk_brings_its_words_out(name: str, begun: bool) -> None:
    module, meanings = SDKS[name]
    for one in exceptions_of(module):
        if one.__name__ in ELSEWHERE:
            continue
        error: Any = one.__new__(one)
        Exception.__init__(error, WORDS)
        error.__dict__ |= {"message": WORDS, "body": {"error": {"message": WORDS}}, "type": None}
        error.__dict__ |= {"status_code": 500, "response": httpx2.Response(500, request=REQUEST, text=WORDS)}
        came = fault(name, error, meanings(), begun=begun)
        assert isinstance(came, TenantryError), one
        assert WORDS not in f"{came} {came.metadata}"
        assert came.metadata["provider"] == name


@pytest.mark.parametrize("name", SDKS)
@pytest.mark.parametrize(
    ("status", "expected", "kind"),
    [
        (400, FailedPrecondition, ""),
        (401, FailedPrecondition, ""),
        (402, FailedPrecondition, ""),
        (403, FailedPrecondition, ""),
        (404, FailedPrecondition, ""),
        (409, FailedPrecondition, ""),
        (413, FailedPrecondition, ""),
        (422, FailedPrecondition, ""),
        (429, ResourceExhausted, ""),
        (408, Unavailable, "failed"),
        (500, Unavailable, "failed"),
        (502, Unavailable, "failed"),
        (503, Unavailable, "overloaded"),
        (504, Unavailable, "failed"),
        (529, Unavailable, "overloaded"),
    ],
)
def test_a_status_becomes_its_error(name: str, status: int, expected: type[TenantryError], kind: str) -> None:
    module, meanings = SDKS[name]
    response = httpx2.Response(status, request=REQUEST, headers={"retry-after": "12"}, text=WORDS)
    error = module.APIStatusError(WORDS, response=response, body=WORDS)
    came = fault(name, error, meanings(), begun=False)
    assert type(came) is expected
    assert isinstance(came, TenantryError) and came.metadata.get("kind", "") == kind
    if isinstance(came, ResourceExhausted | Unavailable):
        assert came.retry_after_s == 12


def test_a_broken_connection_is_a_cut_once_the_answer_had_begun() -> None:
    for error in (openai.APIConnectionError(request=REQUEST), httpx2.RemoteProtocolError(WORDS), httpx2.ReadError("")):
        kinds = [fault("openai", error, provider_openai.meanings(), begun=begun) for begun in (False, True)]
        assert [one.metadata["kind"] for one in kinds if isinstance(one, TenantryError)] == ["failed", "cut"]


def test_what_is_not_the_providers_fault_stays_what_it_is() -> None:
    ours = faults.unavailable("openai", faults.Kind.GARBAGE)
    assert fault("openai", ours, provider_openai.meanings(), begun=False) is ours
    bug = ZeroDivisionError()
    assert fault("openai", bug, provider_openai.meanings(), begun=False) is bug


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        ("0.5", 0.5),
        ("-1", None),
        ("nan", None),
        ("inf", faults.MOST_RETRY_AFTER_S),
        ("1e9", faults.MOST_RETRY_AFTER_S),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("x" * 10_000, None),
    ],
)
def test_retry_after_is_believed_within_bounds(header: str | None, seconds: float | None) -> None:
    assert faults.retry_after_s(header) == seconds
