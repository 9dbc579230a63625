"""Scopes: the bytes that are hashed tell everything apart that an answer depends on."""

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tenantry.cache.entry import Entry, Key
from tenantry.cache.scope import is_genuine, mac_of, scope_of, written
from tenantry.kit.caller import Caller

SECRET = b"s" * 32
KEY = Key("How long?", "Be kind.", "m", "1", "help", 3, "{}", ("handbook",), 5, "t=0", "wordllama", "en", "ann", True)
ACME = Caller("acme", "acme-org", "pro", "key_1", frozenset(), "key_1", ("m",), ("handbook",))

# Few letters, those that delimit among them, so that the same text can come about by moved boundaries.
TEXTS = st.text("a1:,\0é", max_size=4)
LISTS = st.lists(TEXTS, max_size=3).map(tuple)
NUMBERS = st.integers(0, 12)
KEYS = st.builds(
    Key, TEXTS, TEXTS, TEXTS, TEXTS, TEXTS, NUMBERS, TEXTS, LISTS, NUMBERS, TEXTS, TEXTS, TEXTS, TEXTS, st.booleans()
)
CALLERS = st.builds(
    Caller, TEXTS, st.just(""), st.just("pro"), TEXTS, st.just(frozenset[str]()), TEXTS, models=LISTS, collections=LISTS
)


def fields_of(written: str) -> Iterator[str]:
    """Reads a list of length-prefixed fields back."""
    while written:
        length, _, rest = written.partition(":")
        yield rest[: int(length)]
        written = rest[int(length) :]


def read_back(written: bytes) -> tuple[Any, ...]:
    """All that was written, from its bytes alone: where that is possible, no two inputs give the same bytes."""
    fields = fields_of(written.decode())

    def some(number: int) -> list[str]:
        return [next(fields) for _ in range(number)]

    assert next(fields) == "tenantry.cache.scope.1"
    tenant, personal = some(2)
    who = some(2 if personal == "True" else 0)
    seen, models = some(int(next(fields))), some(int(next(fields)))
    first, schema, searched, last = some(6), next(fields), some(int(next(fields))), some(5)
    assert list(fields) == []
    return tenant, personal, who, seen, models, first, schema, searched, last


def meaning(viewer: Caller, key: Key) -> tuple[Any, ...]:
    """What a scope must tell apart."""
    return (
        viewer.tenant,
        str(key.personal),
        [viewer.principal, viewer.key_id] if key.personal else [],
        sorted(set(viewer.collections)),
        sorted(set(viewer.models)),
        [key.question, key.system, key.model, key.model_revision, key.prompt, str(key.prompt_revision)],
        key.output_schema,
        list(key.collections),
        [str(key.passages), key.decoding, key.embedder, key.locale, key.end_user],
    )


@given(CALLERS, KEYS)
def test_what_is_written_can_be_read_back(viewer: Caller, key: Key) -> None:
    assert read_back(written(viewer, key)) == meaning(viewer, key)


@given(CALLERS, KEYS, CALLERS, KEYS)
def test_two_different_inputs_never_give_the_same_bytes(one: Caller, this: Key, other: Caller, that: Key) -> None:
    assert (written(one, this) == written(other, that)) == (meaning(one, this) == meaning(other, that))


@given(KEYS, st.data())
def test_text_moved_over_a_boundary_is_another_scope(key: Key, data: st.DataObject) -> None:
    names = ("question", "system", "model", "model_revision", "prompt", "decoding", "embedder", "locale", "end_user")
    place = data.draw(st.integers(0, len(names) - 2))
    left, right = names[place], names[place + 1]
    joined = getattr(key, left) + getattr(key, right)
    cut = data.draw(st.integers(0, len(joined)))
    moved = replace(key, **{left: joined[:cut], right: joined[cut:]})
    assume(moved != key)
    assert scope_of(SECRET, ACME, moved) != scope_of(SECRET, ACME, key)


@pytest.mark.parametrize("field", [field.name for field in fields(Key)])
def test_each_field_of_the_key_counts(field: str) -> None:
    value = getattr(KEY, field)
    changed = {str: lambda: value + "x", int: lambda: value + 1, bool: lambda: not value, tuple: lambda: (*value, "x")}
    assert scope_of(SECRET, ACME, replace(KEY, **{field: changed[type(value)]()})) != scope_of(SECRET, ACME, KEY)


@pytest.mark.parametrize(
    "change",
    [
        {"tenant": "globex"},
        {"collections": ()},
        {"collections": ("handbook", "salaries")},
        {"models": ()},
        {"principal": "key_2"},
        {"key_id": "key_2"},
    ],
)
def test_all_that_limits_what_the_caller_may_see_counts(change: dict[str, Any]) -> None:
    assert scope_of(SECRET, replace(ACME, **change), KEY) != scope_of(SECRET, ACME, KEY)


def test_callers_of_equal_rights_share_what_is_not_personal() -> None:
    shared = replace(KEY, personal=False, end_user="")
    colleague = replace(ACME, principal="key_2", key_id="key_2", collections=("b", "a"))
    assert scope_of(SECRET, colleague, shared) == scope_of(SECRET, replace(ACME, collections=("a", "b", "a")), shared)


def test_another_secret_is_another_scope() -> None:
    assert scope_of(b"t" * 32, ACME, KEY) != scope_of(SECRET, ACME, KEY)


@pytest.mark.parametrize("change", ["scope", "answer", "epoch", "mac", "secret"])
def test_an_entry_is_genuine_only_as_it_was_stored(change: str) -> None:
    entry = Entry(b"answer", 7, mac_of(SECRET, "ab", b"answer", 7))
    assert is_genuine(SECRET, "ab", entry)
    forged = {
        "answer": replace(entry, answer=b"answes"),
        "epoch": replace(entry, documents_epoch=8),
        "mac": replace(entry, mac=entry.mac[:-1]),
    }.get(change, entry)
    assert not is_genuine(b"t" * 32 if change == "secret" else SECRET, "ac" if change == "scope" else "ab", forged)
