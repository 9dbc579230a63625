"""The hash chain of an audit log."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.tenancy import audit_chain
from tenantry.tenancy.records import AuditEntry, AuditEvent

LOG = "tenant:acme"


def _log(length: int = 4) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    previous = audit_chain.START
    for number in range(1, length + 1):
        entry = AuditEntry(number * 10, "key_1", "CreateApiKey", f"key_{number}")
        previous = audit_chain.link(LOG, previous, number, entry)
        events.append(AuditEvent(number, entry, previous))
    return events


def test_a_log_as_it_was_written_is_whole() -> None:
    assert audit_chain.first_broken(LOG, _log()) is None
    assert audit_chain.first_broken(LOG, []) is None


@pytest.mark.parametrize("field", ["principal", "action", "subject", "outcome"])
def test_a_changed_field_breaks_the_chain_where_it_is(field: str) -> None:
    events = _log()
    events[1] = replace(events[1], entry=replace(events[1].entry, **{field: "another"}))
    assert audit_chain.first_broken(LOG, events) == 2


def test_a_lost_an_added_and_a_swapped_event_are_noticed() -> None:
    events = _log()
    assert audit_chain.first_broken(LOG, events[:1] + events[2:]) == 2
    assert audit_chain.first_broken(LOG, events[:2] + events[1:]) == 3
    assert audit_chain.first_broken(LOG, [events[1], events[0], *events[2:]]) == 1


def test_a_log_is_not_another_owners() -> None:
    assert audit_chain.first_broken("tenant:globex", _log()) == 1


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_fields_that_differ_have_hashes_that_differ(ours: tuple[str, str], theirs: tuple[str, str]) -> None:
    def hashed(fields: tuple[str, str]) -> bytes:
        return audit_chain.link(LOG, audit_chain.START, 1, AuditEntry(0, fields[0], fields[1], ""))

    assert (ours == theirs) == (hashed(ours) == hashed(theirs))
