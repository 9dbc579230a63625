"""The rules that make settled usage fit for the ledger, and the buckets of latencies."""

from hypothesis import given
from hypothesis import strategies as st

from tenantry.insight.entries import bucket_ms, fitting, latency_bucket
from tests.contract.insight.entry import entry


@given(st.integers(1001, 10**16))
def test_a_bucket_stands_for_each_of_its_latencies_to_one_percent(latency_ns: int) -> None:
    assert abs(bucket_ms(latency_bucket(latency_ns)) * 1e6 - latency_ns) <= 0.01 * latency_ns


@given(st.integers(-(2**63), 2**63), st.integers(-(2**63), 2**63))
def test_a_longer_latency_never_falls_into_an_earlier_bucket(one: int, other: int) -> None:
    assert (latency_bucket(one) <= latency_bucket(other)) or one > other


@given(st.integers(-(2**63), 2**63 - 1), st.text(max_size=600))
def test_whatever_was_settled_fits(number: int, text: str) -> None:
    odd = entry("r1", input_tokens=number, cost_micros=number, latency_ns=number, model=text, end_user=text)
    fit = fitting(odd)
    assert 0 <= fit.usage.input_tokens <= 10**12 and 0 <= fit.usage.cost_micros <= 10**12
    assert 0 <= fit.usage.latency_ns <= 10**16
    assert len(fit.usage.model) <= 256 and "\0" not in fit.usage.model + fit.end_user
    assert fitting(fit) == fit


def test_an_ordinary_entry_is_not_changed() -> None:
    assert fitting(entry("r1", first_token_ns=7)) == entry("r1", first_token_ns=7)
