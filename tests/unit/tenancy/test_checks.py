"""What fields of requests may hold."""

from collections.abc import Callable
from typing import Any

import pytest

from tenantry.kit import paging
from tenantry.kit.errors import InvalidArgument
from tenantry.tenancy import checks
from tenantry.tenancy.paging import Page, cut, page_of
from tenantry.tenancy.service import convert


def _field(check: Callable[..., Any], *given: Any) -> str:
    with pytest.raises(InvalidArgument) as refused:
        check(*given)
    return refused.value.violations[0][0]


def test_a_display_name_is_what_was_given_or_the_id() -> None:
    assert checks.display_name(" Acme Inc. ", "acme") == "Acme Inc."
    assert checks.display_name("", "acme") == "acme"
    assert _field(checks.display_name, "x" * 201, "acme") == "display_name"
    assert _field(checks.display_name, "Acme\x00", "acme") == "display_name"


def test_scopes_are_one_or_more_that_there_are() -> None:
    assert checks.scopes(["generate", "generate"]) == {"generate"}
    assert _field(checks.scopes, []) == "scopes"
    assert _field(checks.scopes, ["generate"] * 41) == "scopes"
    assert _field(checks.scopes, ["generate", "everything"]) == "scopes[1]"


def test_restrictions_are_ids_each_once() -> None:
    assert checks.models(["openai/gpt-4o", "a", "a"]) == ("a", "openai/gpt-4o")
    assert _field(checks.models, ["a b"]) == "models[0]"
    assert checks.collections(["faq"]) == ("faq",)
    assert _field(checks.collections, ["faq", "FAQ"]) == "collections[1]"


def test_ids_that_only_we_give_out_have_our_form() -> None:
    assert _field(checks.made_id, "", "key_id") == "key_id"
    assert _field(checks.made_id, "key_1", "key_id") == "key_id"
    assert _field(checks.made_id, "key_" + "0" * 25 + "\x00", "key_id") == "key_id"


def test_a_page_is_where_the_last_one_ended() -> None:
    kept, token = cut(["a", "b", "c"], Page(2), str)
    assert kept == ("a", "b")
    assert page_of(0, token) == Page(100, "b")
    assert cut(["a"], Page(2), str) == (("a",), "")


def test_a_page_that_cannot_be_is_refused() -> None:
    assert _field(page_of, 1001, "") == "page.size"
    assert _field(page_of, -1, "") == "page.size"
    for token in ("junk", paging.token_of(7), paging.token_of("a\x00"), paging.token_of("a", "b"), "é"):
        assert _field(page_of, 0, token) == "page.token"


def test_a_time_out_of_range_is_refused() -> None:
    stamp = convert.timestamp(1_500_000_000_000_000_001)
    assert stamp is not None and convert.time_ns(stamp, "expire_time") == 1_500_000_000_000_000_001
    for seconds, nanos in ((-1, 0), (9_000_000_001, 0), (1, -1), (1, 10**9)):
        stamp.seconds, stamp.nanos = seconds, nanos
        assert _field(convert.time_ns, stamp, "expire_time") == "expire_time"
