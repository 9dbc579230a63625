"""The real Jaeger on free ports, with its store in memory: takes OTLP, and answers its query API."""

import contextlib
import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.harness.ports import free_port

_START_S = 30.0


@dataclass(frozen=True, slots=True)
class Jaeger:
    """`otlp` is for TENANTRY_OTLP_ENDPOINT; `query` is the address of the query API."""

    otlp: str
    query: str

    def trace(self, trace_id: str) -> list[dict[str, Any]]:
        """The trace's spans as the query API shows them, each with its `service` and its tags as a dictionary; none: empty."""
        try:
            with urllib.request.urlopen(f"http://{self.query}/api/traces/{trace_id}", timeout=10) as answer:
                found = json.load(answer)["data"]
        except OSError:
            return []
        spans: list[dict[str, Any]] = []
        for trace in found:
            for span in trace["spans"]:
                tags = {tag["key"]: tag["value"] for tag in span["tags"]}
                service = trace["processes"][span["processID"]]["serviceName"]
                spans.append({**span, "tags": tags, "service": service})
        return spans


@contextlib.contextmanager
def jaeger(binary: str, directory: Path) -> Iterator[Jaeger]:
    """A Jaeger while the block runs."""
    running = Jaeger(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    config = {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
        "extensions": {
            "jaeger_storage": {"backends": {"kept": {"memory": {"max_traces": 1000}}}},
            "jaeger_query": {
                "storage": {"traces": "kept"},
                "http": {"endpoint": running.query},
                "grpc": {"endpoint": f"127.0.0.1:{free_port()}"},
            },
        },
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": running.otlp}}}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "kept"}},
    }
    file = directory / "jaeger.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML.
    with (directory / "jaeger.log").open("wb") as log:
        process = subprocess.Popen([binary, "--config", str(file)], stdout=log, stderr=log)
    try:
        _wait(running, process, directory / "jaeger.log")
        yield running
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(running: Jaeger, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end = time.monotonic() + _START_S
    while True:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{running.query}/api/services", timeout=2):
            return
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"Jaeger did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.05)
