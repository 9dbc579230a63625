"""What an id may look like."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit import ids
from tenantry.kit.errors import InvalidArgument

DESIGNED = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


@pytest.mark.parametrize("text", ["a", "0", "acme", "a-b", "a--b", "x" * 63])
def test_a_tenant_id_of_the_right_form_is_returned_unchanged(text: str) -> None:
    assert ids.check_tenant_id(text) == text


@pytest.mark.parametrize(
    "text", ["", "-a", "a-", "A", "acme ", "acme\n", "ac me", "a_b", "a.b", "a/b", "é", "ａ", "٣", "a\x00", "x" * 64]
)
def test_an_id_of_another_form_is_refused_and_the_field_named(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        ids.check_tenant_id(text, "tenant_id")
    assert [field for field, _ in refused.value.violations] == ["tenant_id"]


@given(st.text(max_size=70) | st.text(alphabet="ab09-", max_size=70))
def test_ids_are_exactly_those_of_the_designed_form(text: str) -> None:
    try:
        accepted = ids.check_organisation_id(text) == text
    except InvalidArgument:
        accepted = False
    assert accepted == (DESIGNED.fullmatch(text) is not None)


def test_the_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(InvalidArgument) as refused:
        ids.check_name("SECRET", "alias")
    assert "SECRET" not in refused.value.message


def test_a_name_may_have_a_limit_of_its_own() -> None:
    with pytest.raises(InvalidArgument):
        ids.check_name("abcd", "alias", max=3)


def test_new_ids_have_their_prefix_differ_and_sort_by_time() -> None:
    made: list[str] = []
    for _ in range(5):
        made.append(ids.new_id("op"))
        before = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == before:
            pass
    assert all(re.fullmatch(r"op_[0-9a-hjkmnp-tv-z]{26}", id) for id in made)
    assert made == sorted(made)
    assert len({ids.new_id("op") for _ in range(1000)}) == 1000
