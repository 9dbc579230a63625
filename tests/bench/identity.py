"""What it costs to know who calls: with ten tenants and with 10^5, five keys each.

CPU is this process's own, of tenancy's use case without a channel: a credential that is remembered, one that is looked up in
SQL, a JWT, and a service's check of an assertion that it has seen. Start and memory (proportional set size) are those of a
tenancy process of its own, idle and after as many keys as it remembers have called. Both sizes take turns.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from sqlalchemy import insert

from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.kit import call
from tenantry.kit.access import access_of
from tenantry.kit.assertion import Keyring, TokenAuthenticator
from tenantry.kit.changes import Poller
from tenantry.kit.clock import SystemClock
from tenantry.kit.sql import Database
from tenantry.tenancy.assertions import REMEMBERED
from tenantry.tenancy.audit import Refusals
from tenantry.tenancy.authentication import Authentication
from tenantry.tenancy.credentials import digest_of, new_credential
from tenantry.tenancy.initialise import initialise, opened
from tenantry.tenancy.issuer_keys import IssuerKeys
from tenantry.tenancy.issuer_tokens import IssuerTokens
from tenantry.tenancy.issuer_url import issuer_id
from tenantry.tenancy.oidc import Keys, keys_of
from tenantry.tenancy.settings import Settings
from tenantry.tenancy.signing import Signer
from tenantry.tenancy.store_sql import tables
from tests.bench.load import median
from tests.bench.memory import pss_mb
from tests.bench.report import Report
from tests.harness.issuer import AUDIENCE, Issuer, new_pair
from tests.harness.ports import free_port

KEYS_EACH = 5
HIT_US, CHECK_US, GROWTH = 100.0, 20.0, 1.5
_BATCH = 5000
_START_S = 60.0
_URL = "https://login.example.com"


@dataclass
class Costs:
    """Of one size. Microseconds of CPU, milliseconds of wall time, seconds, megabytes."""

    hit_us: float = 0.0
    look_up_us: float = 0.0
    look_up_ms: float = 0.0
    token_us: float = 0.0
    new_token_us: float = 0.0
    check_us: float = 0.0
    start_s: float = 0.0
    idle_mb: float = 0.0
    full_mb: float = 0.0


def _settings(state: Path) -> Settings:
    return Settings(
        sql_url=f"sqlite:///{state}/sql/tenancy.db",
        secret=state / "secrets" / "tenancy.key",
        tokens=state / "tokens",
        operator_key=state / "secrets" / "operator.key",
    )


async def _load(database: Database, pepper: bytes, tenants: int, known: int) -> list[str]:
    """Fills the tables, and gives the secrets of so many keys, spread over all tenants."""
    organisation = {"id": "bench-org", "display_name": "Bench", "created_ns": 0, "version": 1}
    secrets: list[str] = []
    step = max(1, tenants * KEYS_EACH // known)
    for first in range(0, tenants, _BATCH):
        names = [f"t-{number}" for number in range(first, min(first + _BATCH, tenants))]
        keys: list[dict[str, Any]] = []
        for number in range(first * KEYS_EACH, (first + len(names)) * KEYS_EACH):
            key_id = f"key_{number:026d}"
            digest = number.to_bytes(32)
            if number % step == 0 and len(secrets) < known:
                secrets.append(new_credential(key_id))
                digest = digest_of(pepper, secrets[-1])
            keys.append(_key(key_id, f"t-{number // KEYS_EACH}", digest))
        async with database.write() as connection:
            if not first:
                await connection.execute(insert(tables.organisations).values(organisation))
                await connection.execute(insert(tables.issuers).values(_issuer("t-0")))
            await connection.execute(insert(tables.tenants), [_tenant(name) for name in names])
            await connection.execute(insert(tables.api_keys), keys)
    return secrets


def _tenant(name: str) -> dict[str, Any]:
    named = {"id": name, "organisation": "bench-org", "display_name": name, "tier": "pro", "state": "ACTIVE"}
    return {**named, "operation": "op", "created_ns": 0, "version": 1, "generation": 1}


def _key(key_id: str, tenant: str, digest: bytes) -> dict[str, Any]:
    whose = {"id": key_id, "tenant": tenant, "organisation": "bench-org", "display_name": "back end"}
    grant = {"scopes": '["generate", "documents.read"]', "models": "[]", "collections": "[]", "networks": "[]"}
    return {**whose, **grant, "digest": digest, "created_ns": 0, "generation": 1, "replaced_by": ""}


def _issuer(tenant: str) -> dict[str, Any]:
    whose = {"id": issuer_id(_URL), "tenant": tenant, "organisation": "bench-org", "url": _URL, "audience": AUDIENCE}
    grant = {"scopes": '["generate"]', "narrowed": False, "models": "[]", "collections": "[]", "networks": "[]"}
    return {**whose, **grant, "created_ns": 0, "generation": 1}


Ask = Callable[[int], Awaitable[Any]]


async def _turns(asks: Sequence[Ask], times: int, rounds: int) -> list[tuple[float, float]]:
    """CPU and wall time in microseconds of one call of each, the median of rounds in which they take turns."""
    took: list[list[tuple[float, float]]] = [[] for _ in asks]
    for turn in range(rounds):
        for place, ask in enumerate(asks):
            cpu, wall = time.process_time(), time.perf_counter()
            for number in range(turn * times, (turn + 1) * times):
                await ask(number)
            took[place].append(((time.process_time() - cpu) / times * 1e6, (time.perf_counter() - wall) / times * 1e6))
    return [(median([cpu for cpu, _ in one]), median([wall for _, wall in one])) for one in took]


@asynccontextmanager
async def _authentication(settings: Settings, keys: Keys) -> AsyncGenerator[tuple[Authentication, Signer]]:
    """tenancy's use case on these tables, with the poller that lets it remember."""
    clock = SystemClock()

    async def read(issuer: str) -> Keys:
        return keys

    async with opened(settings, clock) as (database, store, secret):
        signer = Signer(store, secret, clock)
        tokens = IssuerTokens(store, IssuerKeys(read, clock), secret.pepper, clock)
        made = Authentication(store, secret.pepper, signer, Refusals(store, clock), tokens, clock)
        memories = (made.keys, made.tenants, tokens.issuers, signer.memory)
        store.keep_true(memories)
        poller = Poller(database, memories)
        await poller.poll()
        polling = asyncio.create_task(poller.run())
        try:
            yield made, signer
        finally:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)


@dataclass
class Place:
    """One size: its state, and the secrets of some of its keys."""

    state: Path
    settings: Settings
    secrets: list[str]
    costs: Costs


async def _use_case(places: Sequence[Place], times: int, rounds: int) -> None:
    pair = new_pair("key-0", "RS256")
    vouches = Issuer(_URL, {"key-0": pair})
    async with AsyncExitStack() as stack:
        opened_ = [
            await stack.enter_async_context(_authentication(one.settings, keys_of({"keys": [pair.jwk]})))
            for one in places
        ]
        hits: list[Ask] = []
        look_ups: list[Ask] = []
        known: list[Ask] = []
        new: list[Ask] = []
        checks: list[Ask] = []
        token = vouches.token()
        others = [vouches.token(sub=str(number)) for number in range(_few(times) * rounds)]
        for place, (authentication, signer) in zip(places, opened_, strict=True):
            hits.append(partial(_hit, authentication, place.secrets[0]))
            look_ups.append(partial(_look_up, authentication, place.secrets))
            known.append(partial(_hit, authentication, token))
            new.append(partial(_new, authentication, others))
            checks.append(await _check(authentication, signer, place.secrets[0]))
            await authentication.authenticate(token)
        for figure, asks, calls in (("hit", hits, times), ("token", known, times), ("check", checks, times)):
            for place, (cpu, _) in zip(places, await _turns(asks, calls, rounds), strict=True):
                setattr(place.costs, f"{figure}_us", cpu)
        for place, (cpu, wall) in zip(places, await _turns(look_ups, _few(times), rounds), strict=True):
            place.costs.look_up_us, place.costs.look_up_ms = cpu, wall / 1e3
        for place, (cpu, _) in zip(places, await _turns(new, _few(times), rounds), strict=True):
            place.costs.new_token_us = cpu


def _few(times: int) -> int:
    return max(1, times // 20)


async def _hit(authentication: Authentication, credential: str, _: int) -> None:
    await authentication.authenticate(credential)


async def _look_up(authentication: Authentication, secrets: Sequence[str], number: int) -> None:
    """The key's record is read from SQL. Signing an assertion is not the look-up's."""
    credential = secrets[number % len(secrets)]
    authentication.keys.drop(f"key_{credential[4:30]}")
    await authentication._proven(credential, "")  # pyright: ignore[reportPrivateUsage]


async def _new(authentication: Authentication, tokens: Sequence[str], number: int) -> None:
    await authentication.authenticate(tokens[number])


async def _check(authentication: Authentication, signer: Signer, credential: str) -> Ask:
    """A service's check of an assertion."""
    answer = await authentication.authenticate(credential)

    async def public() -> dict[str, bytes]:
        return {key.id: key.public_key for key in await signer.valid_keys()}

    checks = TokenAuthenticator(Keyring(public, SystemClock()), SystemClock())
    access = access_of("/tenantry.api.tenancy.v1.IdentityService/ListSigningKeys")
    assert access is not None
    metadata = {call.ASSERTION: answer.assertion, call.TENANT: answer.tenant}
    return lambda _: checks.authenticate("", access, metadata)


async def _process(place: Place, *, fill: bool) -> float:
    """Seconds until a process serves. With `fill` also how large it is before and after its memories are full."""
    state, settings = place.state, place.settings
    address = f"127.0.0.1:{free_port()}"
    environment = os.environ | {"TENANTRY_STATE": str(state), "TENANTRY_LISTEN": address}
    began = time.perf_counter()
    log = state / "tenancy.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "tenantry.tenancy"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)  # noqa: ASYNC220
    try:
        async with aio.insecure_channel(address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            await health.Check(health_pb2.HealthCheckRequest(), timeout=_START_S, wait_for_ready=True)
            start_s = time.perf_counter() - began
            if not fill:
                return start_s
            place.costs.idle_mb = pss_mb(process.pid)
            stub: Any = IdentityServiceStub(channel)
            token = (settings.tokens / "gateway.token").read_text()
            gate = asyncio.Semaphore(16)

            async def ask(secret: str) -> None:
                request = identity_pb.AuthenticateCallerRequest(credential=secret)
                async with gate:
                    await stub.AuthenticateCaller(request, metadata=((call.SERVICE, token),), timeout=30)

            await asyncio.gather(*(ask(secret) for secret in place.secrets))
            place.costs.full_mb = pss_mb(process.pid)
            return start_s
    except aio.AioRpcError as error:
        raise AssertionError(f"{error.details()}: {(state / 'tenancy.log').read_text()[-2000:]}") from None
    finally:
        process.terminate()
        process.wait(20)


async def _place(state: Path, tenants: int, remembered: int) -> Place:
    settings = _settings(state)
    await initialise(settings)
    async with opened(settings, SystemClock()) as (database, _, secret):
        secrets = await _load(database, secret.pepper, tenants, min(remembered, tenants * KEYS_EACH))
    return Place(state, settings, secrets, Costs())


async def _measure(folder: Path, tenants: Sequence[int], times: int, rounds: int, remembered: int) -> list[Costs]:
    places = [await _place(folder / str(number), number, remembered) for number in tenants]
    await _use_case(places, times, rounds)
    starts: list[list[float]] = [[] for _ in places]
    for turn in range(rounds):
        for start, place in zip(starts, places, strict=True):
            start.append(await _process(place, fill=turn == rounds - 1))
    for start, place in zip(starts, places, strict=True):
        place.costs.start_s = median(start)
    return [place.costs for place in places]


def run(
    *, tenants: tuple[int, int] = (10, 100_000), times: int = 2000, rounds: int = 3, remembered: int = REMEMBERED
) -> Report:
    """The benchmark. Small numbers try it out without measuring anything."""
    report = Report(("what", *(f"{number} tenants" for number in tenants), "goal"))
    with tempfile.TemporaryDirectory() as folder:
        few, many = uvloop.run(_measure(Path(folder), tenants, times, rounds, remembered))
    rows: list[tuple[str, str, float, float, str]] = [
        ("key, remembered", "hit_us", few.hit_us, many.hit_us, f"≤ {HIT_US:g} µs of CPU"),
        ("key, looked up", "look_up_us", few.look_up_us, many.look_up_us, "µs of CPU"),
        ("key, looked up", "look_up_ms", few.look_up_ms, many.look_up_ms, f"≤ {GROWTH:g} times, ms"),
        ("JWT, remembered", "token_us", few.token_us, many.token_us, f"≤ {HIT_US:g} µs of CPU"),
        ("JWT, new: RS256 checked, assertion signed", "new_token_us", few.new_token_us, many.new_token_us, "µs of CPU"),
        ("assertion, seen before", "check_us", few.check_us, many.check_us, f"≤ {CHECK_US:g} µs of CPU"),
        ("tenancy's start", "start_s", few.start_s, many.start_s, "s"),
        ("tenancy, idle", "idle_mb", few.idle_mb, many.idle_mb, "MB"),
        ("tenancy, with all keys that it remembers", "full_mb", few.full_mb, many.full_mb, "MB"),
    ]
    for name, figure, before, after, goal in rows:
        report.row(name, f"{before:.2f}", f"{after:.2f}", goal)
        report.figure(f"few_{figure}", before)
        report.figure(f"many_{figure}", after)
    report.goal(f"authentication ≤ {HIT_US:g} µs on a hit", max(few.hit_us, many.hit_us, many.token_us) <= HIT_US)
    report.goal(f"a cached assertion check ≤ {CHECK_US:g} µs", max(few.check_us, many.check_us) <= CHECK_US)
    report.goal(f"a look-up costs ≤ {GROWTH:g} times as much", many.look_up_ms <= GROWTH * few.look_up_ms)
    return report
