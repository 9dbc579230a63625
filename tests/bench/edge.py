"""What the edge costs: the same call through Envoy, through kit's own edge, and straight to its service with an assertion.

Envoy asks tenancy and quota for each call, over the network; kit's edge asks them within the process. A second Envoy asks
servers that look at nothing (`bare.py`): what is left is the price of asking. One mesh, whose services share two cores with both
and with the client; the ways take turns in short slices.
"""

import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop
from grpc import aio

from tenantry.api.gateway.v1 import gateway_service_pb2 as gateway_pb
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.kit import call
from tests.bench.asking import PATH, QUESTION, asked_mesh, provider_process
from tests.bench.children import child
from tests.bench.load import client, closed_loop, median, raw, ready
from tests.bench.report import FULL, Report
from tests.harness.envoy import Envoy, edge_token, envoy_beside
from tests.harness.mesh import RunningMesh

AT_ONCE = 32
SAMPLING = 0.01
ADDED_MS, SHARE = 1.5, 0.4
DIRECT, ENVOY, ASKING, KIT = "direct", "Envoy", "Envoy, bare answers", "kit's edge"
_QUERY = gateway_pb.GenerationQuery(question=QUESTION, model="extractive")
# The main job answered from the cache, for which the goals are; and the smallest RPC, of which an edge is the most.
CALLS = {
    "cached answer": (PATH, gateway_pb.GenerateContentRequest(query=_QUERY).SerializeToString(), "gateway"),
    "ListPrompts": (
        "/tenantry.api.prompts.v1.PromptService/ListPrompts",
        prompt_pb.ListPromptsRequest().SerializeToString(),
        "prompts",
    ),
}
Way = Callable[[], Awaitable[Any]]


@dataclass
class Times:
    """Of one way: milliseconds alone, and calls a second with 32 at once, a value a slice."""

    p50: list[float] = field(default_factory=list[float])
    rate: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int = 6 if FULL else 3
    seconds: float = 3.0 if FULL else 1.0
    most_calls: int = 1_000_000


async def _direct(mesh: RunningMesh, key: str) -> Sequence[tuple[str, str]]:
    """What a call carries behind the edge."""
    token = (mesh.state / "tokens" / "gateway.token").read_text().strip()
    channel = client(mesh.addresses["tenancy"])
    request = identity_pb.AuthenticateCallerRequest(credential=key)
    answer = await IdentityServiceStub(channel).AuthenticateCaller(request, metadata=((call.SERVICE, token),))
    await channel.close()
    return ((call.ASSERTION, answer.assertion), (call.TENANT, answer.tenant))


async def measure(mesh: RunningMesh, envoy: Envoy, asking: Envoy, key: str, name: str, size: Size) -> dict[str, Times]:
    """Takes turns between the ways."""
    path, body, service = CALLS[name]
    at = {DIRECT: mesh.addresses[service], ENVOY: envoy.grpc, ASKING: asking.grpc, KIT: mesh.edge}
    channels: dict[str, aio.Channel] = {way: client(address) for way, address in at.items()}
    bearer = (("authorization", f"Bearer {key}"),)
    times = {way: Times() for way in at}
    for channel in channels.values():
        await ready(channel)
    for round in range(size.rounds + 1):
        # Anew each round: an assertion lives two minutes.
        carried = dict.fromkeys(at, bearer) | {DIRECT: await _direct(mesh, key)}
        for way, channel in channels.items():
            ask, metadata = raw(channel, path), tuple(carried[way])

            async def send(ask: Any = ask, metadata: Any = metadata) -> None:
                await ask(body, timeout=30, metadata=metadata)

            alone = await closed_loop(send, 1, size.seconds, size.most_calls)
            many = await closed_loop(send, AT_ONCE, size.seconds, size.most_calls)
            if round:  # the first one warms up
                times[way].p50.append(alone.percentile_ms(50))
                times[way].rate.append(many.rate)
    for channel in channels.values():
        await channel.close()
    return times


@contextmanager
def _bare(mesh: RunningMesh, key: str, state: Path) -> Iterator[list[str]]:
    """Where Envoy may ask in place of tenancy and quota: two processes."""
    with ExitStack() as stack:
        asked = (mesh.addresses["tenancy"], edge_token(mesh), key)
        children = (child("tests.bench.bare", *asked, log=state / f"bare{place}.log") for place in range(2))
        yield [stack.enter_context(one)[1]["address"] for one in children]


def _report(name: str, times: dict[str, Times], report: Report) -> None:
    p50 = {way: median(one.p50) for way, one in times.items()}
    rate = {way: median(one.rate) for way, one in times.items()}
    for way in times:
        share = rate[way] / rate[DIRECT]
        cells = (f"{p50[way]:.2f} ms", f"{p50[way] - p50[DIRECT]:+.2f} ms", f"{rate[way]:.0f}/s", f"{share:.0%}")
        report.row(name, way, *cells)
        figure = f"{name} {way}".lower().replace(" ", "_").replace("'", "").replace(",", "")
        report.figure(f"{figure}_p50_ms", p50[way])
        report.figure(f"{figure}_per_s", rate[way], 0)
        report.figure(f"{figure}_of_direct", share)
    if name == "cached answer":
        report.goal(f"Envoy adds p50 ≤ {ADDED_MS:g} ms", p50[ENVOY] - p50[DIRECT] <= ADDED_MS)
        report.goal(f"Envoy ≥ {SHARE:.0%} of the direct rate", rate[ENVOY] >= SHARE * rate[DIRECT])


def run(*, size: Size | None = None) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    report = Report(("call", "way", "p50, c=1", "over direct", f"rate, c={AT_ONCE}", "of direct"))
    with tempfile.TemporaryDirectory() as folder, provider_process() as provider:
        state = Path(folder)
        with (
            asked_mesh("cohosted", state / "mesh", SAMPLING, provider) as (mesh, key),
            envoy_beside(mesh, state / "envoy") as envoy,
            _bare(mesh, key, state) as (tenancy, quota),
            envoy_beside(
                mesh, state / "asking", TENANTRY_TENANCY_ADDRESS=tenancy, TENANTRY_QUOTA_ADDRESS=quota
            ) as asking,
        ):
            for name in CALLS:
                _report(name, uvloop.run(measure(mesh, envoy, asking, key, name, size or Size())), report)
    return report
