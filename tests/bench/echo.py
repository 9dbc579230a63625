"""What a service adds to gRPC: calls a second of one RPC each, beside those of a raw grpc.aio echo in the same seconds.

Each service is one process and the caller is another, with the same client for all: bytes out, bytes in, the metadata of
a call from the gateway. The loops take turns in short slices, so that a busy machine slows both sides of a ratio.
"""

import base64
import secrets
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from tenantry.api.quota.v1 import reservation_service_pb2 as quota_pb
from tenantry.kit.certificate import read
from tests.bench.children import child
from tests.bench.echo_rooms import ECHO
from tests.bench.load import Cpu, Run, Sampling, client, closed_loop, median, raw, ready
from tests.bench.report import FULL, Report
from tests.harness import tls

AT_ONCE = 32
USUAL_SAMPLING = 0.01


@dataclass(frozen=True)
class Rpc:
    """An RPC under test: the room it is in, the share of the raw echo's rate that it shall reach (0: stated), and whether
    the room and its callers show certificates."""

    name: str
    room: str
    path: str
    goal: float
    tls: bool = False


RPCS = (
    Rpc("RenderPrompt", "prompts", "/tenantry.api.prompts.v1.PromptService/RenderPrompt", 0.70),
    Rpc("RenderPrompt_TLS", "prompts", "/tenantry.api.prompts.v1.PromptService/RenderPrompt", 0.0, tls=True),
    Rpc("SelectModel", "models", "/tenantry.api.models.v1.ModelService/SelectModel", 0.70),
    Rpc("LookupEntry", "cache", "/tenantry.api.cache.v1.CacheService/LookupEntry", 0.45),
    Rpc("AuthenticateCaller", "tenancy", "/tenantry.api.tenancy.v1.IdentityService/AuthenticateCaller", 0.45),
    Rpc("ReserveQuota", "quota", "/tenantry.api.quota.v1.ReservationService/ReserveQuota", 0.45),
    Rpc("SearchPassages", "retrieval", "/tenantry.api.retrieval.v1.DocumentService/SearchPassages", 0.0),
)


@dataclass
class Subject:
    """A running process, how it is called, and what was measured of it."""

    send: Callable[[Sampling], Any]
    cpu: Cpu
    rates: list[float] = field(default_factory=list[float])
    ratios: list[float] = field(default_factory=list[float])
    cpu_us: list[float] = field(default_factory=list[float])

    async def slice(self, sampling: Sampling, seconds: float, most_calls: int) -> Run:
        self.cpu.used()
        run = await closed_loop(lambda: self.send(sampling), AT_ONCE, seconds, most_calls)
        self.cpu_us.append(self.cpu.used() / len(run.latencies) * 1e6)
        self.rates.append(run.rate)
        return run


def _reserve() -> bytes:
    """Each call holds anew: the same nonce would be answered from the hold that is there."""
    request = quota_pb.ReserveQuotaRequest(nonce=secrets.token_hex(16), model="m", input_tokens=1, request_id="req_1")
    return request.SerializeToString()


def _subject(path: str, pid: int, said: dict[str, Any], channel: Any) -> Subject:
    call = raw(channel, path)
    request = base64.b64decode(said["request"])
    metadata = tuple((key, value) for key, value in said["metadata"])
    make = _reserve if path.endswith("/ReserveQuota") else lambda: request

    def send(sampling: Sampling) -> Any:
        return call(make(), timeout=30, metadata=(*metadata, sampling.next()) if metadata else None)

    return Subject(send, Cpu([pid]))


async def measure(
    rpcs: tuple[Rpc, ...], state: Path, report: Report, rounds: int, seconds: float, most_calls: int
) -> None:
    """Starts the processes, lets each warm up, and takes turns."""
    with ExitStack() as stack:
        pid, said = stack.enter_context(child("tests.bench.echo_rooms", "raw", str(state), "", log=state / "raw.log"))
        spans = said["address"]
        channels = [client(spans)]
        echo = _subject(ECHO, pid, said, channels[0])
        subjects: dict[str, Subject] = {}
        for rpc in rpcs:
            own = state / rpc.name
            own.mkdir()
            arguments = ("tests.bench.echo_rooms", rpc.room, str(own), spans, *(["tls"] if rpc.tls else []))
            pid, said = stack.enter_context(child(*arguments, log=own / "log"))
            secured = tls.aio_channel(said["address"], rpc.room, read(own / "tls", "gateway")) if rpc.tls else None
            channels.append(secured or client(said["address"]))
            subjects[rpc.name] = _subject(rpc.path, pid, said, channels[-1])
        for channel in channels:
            await ready(channel)
        for one in (echo, *subjects.values()):
            await one.slice(Sampling(USUAL_SAMPLING), seconds, most_calls)
        for share in (USUAL_SAMPLING, 1.0):
            for one in (echo, *subjects.values()):
                one.rates, one.ratios, one.cpu_us = [], [], []
            await _turns(echo, subjects, share, rounds, seconds, most_calls)
            _report(rpcs, echo, subjects, share, report)
        for channel in channels:
            await channel.close()


async def _turns(
    echo: Subject, subjects: dict[str, Subject], share: float, rounds: int, seconds: float, most_calls: int
) -> None:
    sampling = Sampling(share)
    for _ in range(rounds):
        before = (await echo.slice(sampling, seconds, most_calls)).rate
        for one in subjects.values():
            run = await one.slice(sampling, seconds, most_calls)
            after = (await echo.slice(sampling, seconds / 2, most_calls)).rate
            one.ratios.append(2 * run.rate / (before + after))
            before = after


def _report(rpcs: tuple[Rpc, ...], echo: Subject, subjects: dict[str, Subject], share: float, report: Report) -> None:
    percent = f"{share:.0%}"
    report.row("raw echo", percent, f"{median(echo.rates):.0f}/s", "100 %", f"{median(echo.cpu_us):.0f} µs", "")
    for rpc in rpcs:
        one = subjects[rpc.name]
        ratio = median(one.ratios)
        goal = f"≥ {rpc.goal:.0%}" if rpc.goal and share < 1 else "stated"
        rate, cpu_us = median(one.rates), median(one.cpu_us)
        report.row(rpc.name, percent, f"{rate:.0f}/s", f"{ratio:.0%}", f"{cpu_us:.0f} µs", goal)
        suffix = "" if share < 1 else "_all_sampled"
        report.figure(f"{rpc.name}_ratio{suffix}", ratio)
        report.figure(f"{rpc.name}_per_s{suffix}", rate, 0)
        report.figure(f"{rpc.name}_cpu_us{suffix}", cpu_us, 0)
        if rpc.goal and share < 1:
            report.goal(f"{rpc.name} {goal}", ratio >= rpc.goal)
    suffix = "" if share < 1 else "_all_sampled"
    report.figure(f"raw_per_s{suffix}", median(echo.rates), 0)
    report.figure(f"raw_cpu_us{suffix}", median(echo.cpu_us), 0)


def run(*, rounds: int = 12 if FULL else 3, seconds: float = 0.5, most_calls: int = 1_000_000) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    report = Report(("RPC", "traced", "rate", "of echo", "server CPU a call", "goal"))
    with tempfile.TemporaryDirectory() as directory:
        uvloop.run(measure(RPCS, Path(directory), report, rounds, seconds, most_calls))
    return report
