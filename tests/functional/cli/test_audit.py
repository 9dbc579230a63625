"""`tenantry audit`: a log is listed, exported and verified; what is done to its rows behind the mesh's back is found."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.functional.cli.command import Command, Done
from tests.harness.mesh import RunningMesh, TenantKeys
from tests.harness.poll import until

Change = Callable[[sqlite3.Connection, str], Any]


@pytest.fixture
async def log(tenantry: Command) -> list[dict[str, Any]]:
    """The tenant's log, in which another service's words are."""
    tenantry.file("p.txt", "Hello")
    assert tenantry("prompt create greeting --user p.txt").status == 0
    assert tenantry("audit list --tenant globex").status == 1

    def written() -> bool:
        return {"CreatePrompt", "ListAuditEvents"} <= {line["action"] for line in tenantry("audit export").lines()}

    await until(written, 10, 0.1)
    return tenantry("audit export").lines()


def behind(local: RunningMesh, room: str, change: Change, tenant: str) -> None:
    """What somebody does who can write to the tables."""
    with closing(sqlite3.connect(local.state / "sql" / f"{room}.db", timeout=5)) as connection, connection:
        change(connection, tenant)


def test_a_log_is_listed_exported_and_whole(tenantry: Command, log: list[dict[str, Any]], keys: TenantKeys) -> None:
    assert [line["number"] for line in log] == [str(number) for number in range(1, len(log) + 1)]
    assert {line["log"] for line in log} == {f"tenant:{keys.tenant}"}
    made = next(line for line in log if line["action"] == "CreatePrompt")
    assert (made["service"], made["subject"], made["outcome"], made["count"]) == ("prompts", "greeting", "OK", "1")
    assert tenantry("audit list").lines()[0]["number"] == str(len(log))
    verified = tenantry("audit verify").json()
    assert verified["log"] == f"tenant:{keys.tenant}" and verified["entries"] == len(log)
    shown = tenantry.on_terminal("audit verify")
    assert shown.status == 0 and f"tenant:{keys.tenant}" in shown.out


_TAMPERED: dict[str, tuple[str, Change]] = {
    "changed": (
        "entry 2 is not",
        lambda db, log: db.execute("UPDATE audit_events SET principal='x' WHERE log=? AND number=2", (log,)),
    ),
    "removed": (
        "entry 2 is missing",
        lambda db, log: db.execute("DELETE FROM audit_events WHERE log=? AND number=2", (log,)),
    ),
    "cut off": (
        "is missing, and all up to",
        lambda db, log: db.execute("DELETE FROM audit_events WHERE log=? AND number>2", (log,)),
    ),
    "reordered": (
        "entry 2 is not",
        lambda db, log: [
            db.execute("UPDATE audit_events SET number=? WHERE log=? AND number=?", (to, log, number))
            for number, to in ((2, -2), (3, 2), (-2, 3))
        ],
    ),
    "added": (
        "0 stands in its place",
        lambda db, log: db.execute(
            "INSERT INTO audit_events SELECT log, 0, time_ns, principal, action, subject, outcome, hash, service, reason,"
            " count, NULL FROM audit_events WHERE log=? AND number=2",
            (log,),
        ),
    ),
}


@pytest.mark.parametrize("how", list(_TAMPERED))
def test_what_was_done_to_the_rows_is_found_and_named(
    tenantry: Command, log: list[dict[str, Any]], local: RunningMesh, keys: TenantKeys, how: str
) -> None:
    named, change = _TAMPERED[how]
    behind(local, "tenancy", change, f"tenant:{keys.tenant}")
    found = tenantry("audit verify")
    assert found.status == 1 and named in found.err, found


def test_an_exported_file_is_verified_and_tells_a_log_that_was_cut_or_written_anew(
    tenantry: Command, log: list[dict[str, Any]], local: RunningMesh, keys: TenantKeys
) -> None:
    file = tenantry.file("log.jsonl", tenantry("audit export").out)
    assert tenantry(f"audit verify {file}").json()["entries"] == len(log)
    assert tenantry(f"audit verify {file} --offline").json()["entries"] == len(log)
    spoilt = tenantry.file("spoilt.jsonl", file.read_text().replace('"CreatePrompt"', '"UpdatePrompt"'))
    assert "is not the one that was written" in tenantry(f"audit verify {spoilt} --offline").err
    log_name = f"tenant:{keys.tenant}"

    def cut(db: sqlite3.Connection, _: str) -> None:
        """As somebody does who knows of the head."""
        number, hash = db.execute(
            "SELECT number, hash FROM audit_events WHERE log=? AND number=2", (log_name,)
        ).fetchone()
        db.execute("DELETE FROM audit_events WHERE log=? AND number>2", (log_name,))
        db.execute("UPDATE audit_logs SET number=?, hash=? WHERE log=?", (number, hash, log_name))

    behind(local, "tenancy", cut, log_name)
    assert tenantry("audit verify").status == 0  # the tables alone no longer know
    found = tenantry(f"audit verify {file}")
    assert found.status == 1 and "entry 3 is missing" in found.err, found


def test_a_file_that_is_no_log_is_said_to_be_none(tenantry: Command) -> None:
    for content in ("junk\n", "{}\n", '{"log": 3}\n', '["log"]\n', ""):
        found: Done = tenantry(f"audit verify --offline {tenantry.file('x.jsonl', content)}")
        assert found.status == 1 and "export it again" in found.err


async def test_usage_is_exported_and_what_was_done_to_it_is_found(
    tenantry: Command, local: RunningMesh, keys: TenantKeys, tmp_path: Path
) -> None:
    local.upload(keys.key, {"faq": "The shop opens at nine in the morning."})
    for _ in range(3):
        assert tenantry("ask 'When does the shop open?'").status == 0
    await until(lambda: len(tenantry("audit export --usage").lines()) == 3, 20, 0.2)
    verified = tenantry("audit verify --usage").json()
    assert verified["entries"] == 3 and verified["log"] == f"usage:{keys.organisation}/{keys.tenant}"
    file = tenantry.file("usage.jsonl", tenantry("audit export --usage").out)
    assert tenantry(f"audit verify {file}").json()["entries"] == 3
    reservation = json.loads(file.read_text().splitlines()[1])["record"]["reservation"]
    behind(
        local,
        "insight",
        lambda db, tenant: db.execute(
            "UPDATE entries SET cost_micros=cost_micros+1 WHERE tenant=? AND number=2", (tenant,)
        ),
        keys.tenant,
    )
    found = tenantry("audit verify --usage")
    assert found.status == 1 and "entry 2" in found.err and reservation in found.err and "batch" in found.err, found
    shutil.copy(file, tmp_path / "kept.jsonl")
    behind(
        local,
        "insight",
        lambda db, tenant: [
            db.execute("UPDATE entries SET cost_micros=cost_micros-1 WHERE tenant=? AND number=2", (tenant,)),
            db.execute("DELETE FROM entries WHERE tenant=? AND number=3", (tenant,)),
        ],
        keys.tenant,
    )
    found = tenantry("audit verify --usage")
    assert found.status == 1 and "entry 3 is missing" in found.err, found
