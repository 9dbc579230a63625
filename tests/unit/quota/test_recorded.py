"""Traces: what lines say, and what is wrong with others."""

import pytest

from tenantry.quota import recorded
from tenantry.quota.recorded import Wrong, read, split
from tenantry.quota.simulation import Arrival


def lines(*rows: str, header: str = "time,tenant,input,output") -> list[str]:
    return [f"{row}\n" for row in (header, *rows)]


def test_columns_are_found_by_their_names_and_times_count_from_the_first() -> None:
    rows = lines("7,x,3,b,12.5", "5,y,4,a,10", header="output,other,input,tenant,time")
    assert read(rows) == ([Arrival(0, "a", 4, 5), Arrival(2.5, "b", 3, 7)], [])


def test_the_form_that_azure_publishes_is_read_and_names_no_tenants() -> None:
    rows = lines(
        "2023-11-16 18:15:46.6805900,374,44",
        "2023-11-16 18:15:50.6805900,396,109",
        header="TIMESTAMP,ContextTokens,GeneratedTokens",
    )
    arrivals, wrong = read(rows)
    assert wrong == [] and arrivals == [Arrival(0, "", 374, 44), Arrival(4, "", 396, 109)]


def test_times_of_other_zones_are_told_apart() -> None:
    arrivals, _ = read(lines("2026-01-01T12:00:00+02:00,a,1,1", "2026-01-01T10:00:01Z,a,1,1"))
    assert [arrival.at_s for arrival in arrivals] == [0, 1]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("later,a,1,1", "time is neither"),
        ("nan,a,1,1", "time is no finite"),
        ("inf,a,1,1", "time is no finite"),
        ("1e9,a,1,1", "days after the first"),
        ("1,,1,1", "tenant is not"),
        ("1,\x1b[31m,1,1", "tenant is not"),
        (f"1,{'a' * 64},1,1", "tenant is not"),
        ("1,a,-1,1", "input is no whole number"),
        ("1,a,1.5,1", "input is no whole number"),
        ("1,a,١,1", "input is no whole number"),
        ("1,a,1,100000001", "output is no whole number"),
        ("1,a,1,", "output is no whole number"),
        ("1,a,1", "has 3 cells, not 4"),
        ("1,a,1," + "1" * 200_000, "field larger than"),
    ],
)
def test_a_wrong_line_is_named_by_its_number_and_the_reason(row: str, reason: str) -> None:
    arrivals, (wrong,) = read(lines("0,a,1,1", row, "", "2,a,1,1"))
    assert wrong.line == 3 and reason in wrong.reason
    assert len(arrivals) >= 2, "the lines around it are read"


@pytest.mark.parametrize("text", ["", "\n", "time,tenant,input,output\n", "when,who\n1,a\n"])
def test_a_trace_of_nothing_is_wrong(text: str) -> None:
    arrivals, wrong = read(text.splitlines(keepends=True))
    assert arrivals == [] and len(wrong) == 1


def test_reading_ends_at_too_many_wrong_lines_and_at_too_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(read(lines(*["x,a,1,1"] * 1_000))[1]) == recorded.MOST_WRONG
    monkeypatch.setattr(recorded, "MOST_REQUESTS", 3)
    arrivals, wrong = read(lines(*["1,a,1,1"] * 9))
    assert len(arrivals) == 3 and wrong == [Wrong(5, "is one more than 3 requests")]


def test_a_trace_is_split_by_zipfs_law_and_always_alike() -> None:
    arrivals = [Arrival(at_s, "") for at_s in range(3_000)]
    found = split(arrivals, 3, seed=1)
    counts = [sum(one.tenant == name for one in found) for name in ("t01", "t02", "t03")]
    assert counts[0] / counts[1] == pytest.approx(2, rel=0.15) and counts[0] / counts[2] == pytest.approx(3, rel=0.15)
    assert found == split(arrivals, 3, seed=1)
