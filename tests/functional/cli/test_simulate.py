"""`tenantry simulate`: a trace, what would have become of it, and what is wrong with others. There is no mesh."""

import gzip
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.functional.cli.command import Command

HEADER = "time,tenant,input,output\n"
TRACE = HEADER + "".join(f"{number / 10},{tenant},100,100\n" for number in range(60) for tenant in "ab")


ROOT = Path(__file__).parents[3]


@pytest.fixture
def alone(tmp_path: Path) -> Command:
    """The command without a mesh, a key or a state directory."""
    return Command({"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, tmp_path)


def test_weights_and_limits_are_tried_on_a_trace(alone: Command) -> None:
    alone.file("trace.csv", TRACE)
    *rows, last = alone("simulate trace.csv --seats 2 --weights a=1,b=4").lines()
    a, b = rows
    assert (a["tenant"], a["requests"], a["admitted"], a["due"]) == ("a", 60, 60, 0.2)
    assert b["wait_p50_s"] < a["wait_p50_s"] and last["largest_difference"] > 0
    a, b, _ = alone("simulate trace.csv --requests-per-minute a=6 --request-burst a=10 --tokens-per-day b=2000").lines()
    assert a["refused"] == {"requests_per_minute": 50} and b["refused"] == {"tokens_per_day": 50}
    a, b, _ = alone("simulate trace.csv --concurrent-requests 1 --token-ms 10 --organisations a=x,b=x").lines()
    assert a["refused"]["concurrent_requests"] > 0 and a["due"] == b["due"] == 0.5
    for row in alone("simulate trace.csv --seats 1 --within 60 --weights b=4").lines()[:2]:
        assert row["admitted"] + row["refused"]["queue_late"] == 60 and row["wait_p99_s"] <= 60
    fair, first = (alone(f"simulate trace.csv --seats 1 --weights b=4 {how}").lines() for how in ("", "--first-come"))
    assert fair[1]["wait_p50_s"] < first[1]["wait_p50_s"], "in the order of arrival weights count for nothing"


def test_what_the_documentation_says_of_its_examples_is_so(alone: Command) -> None:
    page = (ROOT / "docs" / "FAIRNESS.md").read_text()
    commands = re.findall(r"^tenantry (simulate [^#\n]*)", page, re.MULTILINE)
    assert len(commands) == 4
    rows = [{row.get("tenant"): row for row in replace(alone, folder=ROOT)(command).lines()} for command in commands]
    said = {tenant: [f"{row[tenant]['wait_p99_s']:.1f}" for row in rows] for tenant in ("globex", "acme")}
    assert "globex's p99 wait is {} s, {} s, {} s and {} s".format(*said["globex"]) in page
    assert "acme's is {}, {}, {} and {} s".format(*said["acme"]) in page
    assert (
        f"{rows[-1]['acme']['refused']['requests_per_minute']} of its {rows[-1]['acme']['requests']} requests" in page
    )


def test_a_compressed_trace_without_tenants_is_split_and_shown_as_a_table(alone: Command) -> None:
    rows = "".join(f"2023-11-16 18:15:{number % 60:02}.6805900,400,40\n" for number in range(300))
    alone.file("azure.csv.gz", gzip.compress(b"TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows.encode()))
    shown = alone.on_terminal("simulate azure.csv.gz --tenants 3 --pool-tokens 2000")
    assert shown.status == 0 and "t01" in shown.out and "t03" in shown.out and "33.3%" in shown.out, shown
    assert "apart at most" in shown.out
    unnamed = alone("simulate azure.csv.gz")
    assert unnamed.status == 1 and "--tenants" in unnamed.err


def test_every_wrong_line_is_named_with_its_number_and_the_reason(alone: Command) -> None:
    alone.file(
        "bad.csv", HEADER + "0,a,1,1\nlater,a,1,1\n2,a,-1,1\n3,a\nnan,a,1,1\n4,a,1,nan\n1e999,a,1,1\n5,a,1,1e18\n"
    )
    refused = alone("simulate bad.csv")
    assert refused.status == 1 and refused.out == ""
    named = refused.err.splitlines()
    assert [line.split(": ")[0] for line in named[:-1]] == [f"bad.csv:{line}" for line in range(3, 10)]
    assert "input" in named[1] and "7 lines" in named[-1]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.csv", None, "No such file"),
        ("empty.csv", b"", "no request"),
        ("other.csv", b"a,b\n1,2\n", "names no column"),
        ("binary.csv", b"\x7fELF\xd0\xff", "UTF-8"),
        ("cut.csv.gz", gzip.compress(HEADER.encode() + b"0,a,1,1\n" * 999)[:-12], "no whole gzip file"),
        ("plain.csv.gz", TRACE.encode(), "no whole gzip file"),
    ],
    ids=["none", "empty", "other", "binary", "cut", "plain"],  # the packed one says when it was packed
)
def test_a_file_that_is_no_trace_is_refused(alone: Command, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        alone.file(name, content)
    refused = alone(f"simulate {name}")
    assert refused.status == 1 and said in refused.err, refused


@pytest.mark.parametrize(
    "options",
    [
        "--weights c=1",
        "--weights a=0",
        "--weights a=1001",
        "--weights a=-1",
        "--weights a=nan",
        "--weights =1",
        "--weights a=1,a=2",
        "--requests-per-minute a=1000001",
        "--request-burst 5",
        "--seats 1 --pool-tokens 1",
        "--seats 0",
        "--token-ms 0",
        "--within -1",
        "--within nan",
        "--tenants 0",
    ],
)
def test_options_that_make_no_sense_are_refused(alone: Command, options: str) -> None:
    alone.file("trace.csv", TRACE)
    refused = alone(f"simulate trace.csv {options}")
    assert refused.status == 2 and "Error" in refused.err, refused
