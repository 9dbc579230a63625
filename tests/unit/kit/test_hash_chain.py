"""A chain of hashes: whatever is done to it afterwards is found, and where."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from tenantry.kit.hash_chain import START, Walk, link


@dataclass(frozen=True)
class Entry:
    """An entry as a table keeps it."""

    number: int
    fields: tuple[str, ...]
    hash: bytes


def chain(texts: list[str]) -> list[Entry]:
    entries: list[Entry] = []
    hash = START
    for number, text in enumerate(texts, 1):
        fields = ("tenant:acme", str(number), text)
        hash = link(hash, fields)
        entries.append(Entry(number, fields, hash))
    return entries


def broken(entries: list[Entry], head: Entry) -> int | None:
    """The place at which a walk stops; None if all is as it was written."""
    walk = Walk()
    for entry in entries:
        if walk.fault_of(entry.number, entry.hash, entry.fields):
            return walk.number + 1
    return walk.number + 1 if walk.short_of(head.number, head.hash) else None


texts = st.lists(st.text(), min_size=1, max_size=12)


@given(texts, st.data())
def test_a_changed_entry_is_found_where_it_is(words: list[str], data: st.DataObject) -> None:
    whole = chain(words)
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.text().filter(lambda text: text != words[at]))
    old = whole[at]
    changed = [*whole[:at], Entry(old.number, ("tenant:acme", str(at + 1), other), old.hash), *whole[at + 1 :]]
    assert broken(whole, whole[-1]) is None
    assert broken(changed, whole[-1]) == at + 1


@given(texts, st.data())
def test_a_changed_entry_with_a_hash_that_fits_is_found_at_the_next(words: list[str], data: st.DataObject) -> None:
    whole = chain(words)
    at = data.draw(st.integers(0, len(whole) - 1))
    fields = ("tenant:acme", str(at + 1), words[at] + "!")
    forged = Entry(at + 1, fields, link(whole[at - 1].hash if at else START, fields))
    assert broken([*whole[:at], forged, *whole[at + 1 :]], whole[-1]) == at + 2


@given(texts, st.data())
def test_a_removed_entry_is_found_at_the_end_too(words: list[str], data: st.DataObject) -> None:
    whole = chain(words)
    at = data.draw(st.integers(0, len(whole) - 1))
    assert broken([*whole[:at], *whole[at + 1 :]], whole[-1]) == at + 1


@given(st.lists(st.text(), min_size=2, max_size=12), st.data())
def test_two_entries_that_changed_places_are_found(words: list[str], data: st.DataObject) -> None:
    whole = chain(words)
    one = data.draw(st.integers(0, len(whole) - 2))
    other = data.draw(st.integers(one + 1, len(whole) - 1))
    swapped = list(whole)
    swapped[one], swapped[other] = whole[other], whole[one]
    assert broken(swapped, whole[-1]) == one + 1
    renumbered = list(whole)
    renumbered[one] = Entry(one + 1, whole[other].fields, whole[other].hash)
    renumbered[other] = Entry(other + 1, whole[one].fields, whole[one].hash)
    assert broken(renumbered, whole[-1]) == one + 1


@given(texts, st.text(), st.data())
def test_an_added_entry_is_found(words: list[str], text: str, data: st.DataObject) -> None:
    whole = chain(words)
    at = data.draw(st.integers(0, len(whole)))
    fields = ("tenant:acme", str(at + 1), text)
    added = Entry(at + 1, fields, link(whole[at - 1].hash if at else START, fields))
    found = broken([*whole[:at], added, *whole[at:]], whole[-1])
    assert found in (at + 2, len(whole) + 2)


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_fields_that_differ_have_hashes_that_differ(ours: list[str], theirs: list[str]) -> None:
    assert (ours == theirs) == (link(START, ours) == link(START, theirs))
