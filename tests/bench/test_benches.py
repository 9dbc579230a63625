"""Each benchmark runs, as small as it can be: what is measured here means nothing, but it does not rot."""

import json
from typing import Any

import pytest

from tests.bench import (
    echo,
    edge,
    fairness,
    faults,
    fuzz,
    herd,
    identity,
    leaks,
    memory,
    path,
    queue,
    quota,
    revocation,
)
from tests.bench.report import Report


def printed(report: Report, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    report.print()
    last: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(last["holds"], bool)
    return last


def test_echo_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = printed(echo.run(rounds=1, seconds=1.0, most_calls=3), capsys)
    assert {f"{rpc.name}_ratio" for rpc in echo.RPCS} <= figures.keys()


def test_path_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    report = path.run(runs=(("cohosted", 0.01),), size=path.Size(rounds=1, seconds=10.0, most_calls=3))
    figures = printed(report, capsys)
    ways = ("bare_openai_SDK", "hit", "miss_extractive", "miss_openai_SDK")
    assert {f"cohosted_{way}_p50_ms" for way in ways} <= figures.keys()


@pytest.mark.needs("envoy")
def test_edge_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = printed(edge.run(size=edge.Size(rounds=1, seconds=5.0, most_calls=3)), capsys)
    assert {f"cached_answer_{way}_per_s" for way in ("direct", "envoy", "kits_edge")} <= figures.keys()


def test_memory_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = printed(memory.run(topologies=("cohosted",), seconds=10.0, most_calls=3), capsys)
    assert figures["cohosted_loaded_mb"] > 0


def test_leaks_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = printed(leaks.run(operations=50, full=False), capsys)
    assert figures["operations"] == 50


def test_revocation_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = printed(revocation.run(rounds=2), capsys)
    assert {"services_p50_s", "services_worst_s", "stream_p50_s", "stream_worst_s"} <= figures.keys()


def test_fuzz_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = printed(fuzz.run(inputs=80, full=False), capsys)
    assert figures["inputs"] == 80


def test_identity_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = printed(identity.run(tenants=(2, 4), times=50, rounds=1, remembered=10), capsys)
    assert figures["many_idle_mb"] > 0


def test_quota_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = printed(quota.run(rounds=1, seconds=0.05, window_s=0.2, fits=10), capsys)
    assert {"of_echo", "of_bare", "edge_over", "gone_admitted", "back_s", "in_process_p50_ms"} <= figures.keys()


def test_faults_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    # The one whose promise is a figure: what a failover of the cluster forgets.
    figures = printed(faults.run(runs=1, callers=20, cases=faults.CASES[-1:], quiet_s=0.0), capsys)
    killed = "primary_of_a_cluster_killed"
    assert figures[f"{killed}_admitted"] > 0
    assert {f"{killed}_lag_ms", f"{killed}_forgotten"} <= figures.keys()


def test_fairness_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    report = fairness.run(workloads=fairness.WORKLOADS[:1], real_figures=(3,), part=0.03, traces=())
    figures = printed(report, capsys)
    assert {"figure_3_fair_backlogged", "figure_3_real_backlogged", "weights_real_off_by"} <= figures.keys()


def test_queue_runs_and_ends_with_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    small = herd.Herd(callers=20, tenants=2, seats=5)
    report = queue.run(
        sizes=(2, 4),
        times=64,
        herds=lambda report: herd.on_the_service(report, size=small, times=2, replicas_of_herd=(1,)),
    )
    figures = printed(report, capsys)
    assert figures["herd_1_served"] == small.callers
    assert {"valkey_enqueue_us_at_4", "valkey_settle_us_at_4", "seat_is_freed_other_replica_p99_ms"} <= figures.keys()
