"""`tenantry doctor` and `tenantry serve`: what an operator is told when something is missing."""

import pytest

from tenantry.kit.settings import SERVICES
from tests.functional.cli.command import Command
from tests.harness.mesh import RunningMesh
from tests.harness.ports import free_port


def test_all_is_well_with_a_mesh_that_runs(operator: Command) -> None:
    done = operator("doctor")
    assert done.status == 0, done
    findings = done.lines()
    assert all(one["well"] and not one["next_step"] for one in findings)
    whats = " ".join(one["what"] for one in findings)
    assert all(name in whats for name in (*SERVICES, "books", "cache", "secrets"))
    shown = operator.on_terminal("doctor")
    assert shown.status == 0 and shown.out.count("✓") == len(findings) and "✗" not in shown.out


def test_what_is_away_is_found_with_a_next_step(operator: Command, local: RunningMesh) -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}/0"
    done = operator.within(TENANTRY_BOOKS_URL=nowhere)("doctor")
    (ill,) = [one for one in done.lines() if not one["well"]]
    assert done.status == 1 and "books" in ill["what"] and "TENANTRY_BOOKS_URL" in ill["next_step"]
    assert local.cache is not None
    unfit = operator.within(TENANTRY_BOOKS_URL=local.cache.url)("doctor")
    (ill,) = [one for one in unfit.lines() if not one["well"]]
    assert unfit.status == 1 and "books" in ill["what"] and ill["next_step"]
    quota = f"127.0.0.1:{free_port()}"
    away = operator.within(TENANTRY_QUOTA_ADDRESS=quota, TENANTRY_LISTEN=quota)("doctor")
    (ill,) = [one for one in away.lines() if not one["well"]]
    assert away.status == 1 and "quota" in ill["what"] and "tenantry" in ill["next_step"]


def test_nothing_at_all_is_said_finding_by_finding(operator: Command) -> None:
    addresses = {f"TENANTRY_{name.upper()}_ADDRESS": f"127.0.0.1:{free_port()}" for name in SERVICES}
    nothing = operator.within(
        TENANTRY_STATE=str(operator.folder / "none"),
        TENANTRY_EDGE_LISTEN=f"127.0.0.1:{free_port()}",
        TENANTRY_BOOKS_URL=f"redis://127.0.0.1:{free_port()}/0",
        TENANTRY_CACHE_URL=f"redis://127.0.0.1:{free_port()}/0",
        **addresses,
    )
    done = nothing("doctor")
    findings = done.lines()
    assert done.status == 1 and all(one["next_step"] for one in findings) and len(findings) > len(SERVICES)
    assert "tenantry init" in findings[0]["next_step"]
    assert not (operator.folder / "none").exists()
    shown = nothing.on_terminal("doctor")
    assert shown.status == 1 and shown.out.count("✗") == len(findings)


def test_secrets_that_others_may_read_are_found(operator: Command) -> None:
    secret = operator.file("state/secrets/operator.key", "tnt_x")
    secret.chmod(0o644)
    done = operator.within(TENANTRY_STATE=str(operator.folder / "state"))("doctor")
    (ill,) = [one for one in done.lines() if one["what"].startswith("secrets in")]
    assert done.status == 1 and "operator.key" in ill["next_step"] and "chmod" in ill["next_step"]


def test_an_unknown_service_is_wrong_usage(operator: Command) -> None:
    done = operator("serve nonsense")
    assert done.status == 2 and "nonsense is no service" in done.err and "gateway" in done.err


@pytest.mark.parametrize("line", ["nonsense", "up --topology star", "up --workers 0", "docs add", "trace a b"])
def test_wrong_usage_ends_with_status_2(operator: Command, line: str) -> None:
    assert operator(line).status == 2


@pytest.mark.parametrize(
    "line", ["", "org", "tenant", "key", "docs", "prompt", "ask", "up", "serve", "trace", "doctor"]
)
def test_everything_has_a_help_text(operator: Command, line: str) -> None:
    done = operator(f"{line} --help")
    assert done.status == 0 and "Usage:" in done.out
