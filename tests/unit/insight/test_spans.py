"""What of a span is kept."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenantry.insight.spans import Reported, Value, is_older_root, kept
from tests.contract.insight.entry import span

TENANT = ("tenantry.tenant.id", "acme")
GOOD = Reported(b"t" * 16, b"s" * 8, b"p" * 8, "tenantry-models", "work", 1000, 3000, True, (TENANT,))


def attributes(*given: tuple[str, Value]) -> dict[str, str]:
    found = kept(replace(GOOD, attributes=(TENANT, *given)))
    assert found is not None
    return json.loads(found.attributes)


def test_a_span_is_kept_with_ids_in_hex_and_its_service_by_its_name_in_the_mesh() -> None:
    found = kept(replace(GOOD, attributes=(TENANT, ("tenantry.request.id", "req_1"))))
    assert found is not None
    assert (found.tenant, found.trace_id, found.span_id, found.parent_span_id) == (
        "acme",
        "74" * 16,
        "73" * 8,
        "70" * 8,
    )
    assert (found.service, found.name, found.start_ns, found.duration_ns) == ("models", "work", 1000, 2000)
    assert (found.failed, found.request_id) == (True, "req_1")


@pytest.mark.parametrize(
    "junk",
    [
        replace(GOOD, trace_id=b""),
        replace(GOOD, trace_id=bytes(16)),
        replace(GOOD, trace_id=b"t" * 17),
        replace(GOOD, span_id=bytes(8)),
        replace(GOOD, span_id=b"s"),
        replace(GOOD, start_ns=0),
        replace(GOOD, start_ns=5000),
        replace(GOOD, end_ns=2**64 - 1),
    ],
)
def test_junk_is_not_kept(junk: Reported) -> None:
    assert kept(junk) is None


@pytest.mark.parametrize("tenant", ["", "Acme", "acme\0", "acme ", "-acme", "a" * 64, "../acme", 7, True, None])
def test_a_span_without_a_tenant_of_the_right_form_is_nobodys(tenant: Value) -> None:
    assert kept(replace(GOOD, attributes=(("tenantry.tenant.id", tenant),))) is None
    assert kept(replace(GOOD, attributes=())) is None


def test_a_span_of_two_tenants_is_nobodys() -> None:
    assert kept(replace(GOOD, attributes=(TENANT, ("tenantry.tenant.id", "globex")))) is None
    assert kept(replace(GOOD, attributes=(TENANT, TENANT))) is not None


def test_attributes_that_may_hold_content_are_not_kept() -> None:
    content = (
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.prompt.0.content",
        "gen_ai.completion.0.content",
        "gen_ai.tool.call.arguments",
        "gen_ai.request.stop_sequences",
        "exception.message",
        "db.query.text",
        "http.url",
        "rpcx",
    )
    found = attributes(*((name, "canary") for name in content), ("gen_ai.request.model", "gpt"), ("rpc.method", "Get"))
    assert found == {"tenantry.tenant.id": "acme", "gen_ai.request.model": "gpt", "rpc.method": "Get"}


def test_values_are_text_and_cut() -> None:
    found = attributes(
        ("gen_ai.usage.input_tokens", 7), ("tenantry.flag", True), ("rpc.x", None), ("server.address", "é\0" * 900)
    )
    assert found["gen_ai.usage.input_tokens"] == "7" and found["tenantry.flag"] == "true"
    assert found["server.address"] == "é" * 256 and "rpc.x" not in found


@given(st.lists(st.tuples(st.text(max_size=80).map(lambda name: f"rpc.{name}"), st.text(max_size=2000)), max_size=60))
def test_all_attributes_together_have_a_bounded_size(given: list[tuple[str, str]]) -> None:
    found = attributes(*given)
    assert sum(len(name.encode()) + len(value.encode()) for name, value in found.items()) <= 2048
    assert found["tenantry.tenant.id"] == "acme" and not any("\0" in text for pair in found.items() for text in pair)


def test_a_root_is_the_earliest_without_a_parent_and_else_the_earliest() -> None:
    root, child, late = span(1, start_ns=50), span(2, start_ns=10), span(3, start_ns=70)
    assert is_older_root(root, child) and not is_older_root(child, root)
    assert is_older_root(child, late)
    assert is_older_root(span(4, parent_span_id="", start_ns=40), root)
