"""One part of the fuzzing: a mesh in this process, and requests to its rooms (`tests/harness/fuzz.py`).

Most go through the in-process channel to the guarded handlers, every twentieth over a socket. Every caller is true, so that
what is wrong with a request is its message.
"""

import asyncio
import json
import logging
import os
import random
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jwt
import uvloop
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc import aio

from tenantry.api.tenancy.v1 import identity_service_pb2 as identity_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1 import tenant_pb2
from tenantry.api.tenancy.v1 import tenant_service_pb2 as tenant_pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tenantry.api.tenancy.v1.tenant_service_pb2_grpc import TenantServiceStub
from tenantry.cli.rooms import hosted
from tenantry.kit import call, telemetry
from tenantry.kit.access import EDGE
from tenantry.kit.host import Host, hosting
from tenantry.kit.inprocess import InProcessChannel
from tenantry.kit.network import PeerStatus
from tenantry.kit.settings import SERVICES, MeshSettings
from tenantry.tenancy.initialise import initialise
from tenantry.tenancy.roles import OPERATOR, ORGANISATION_ADMIN, ROLES, TENANT_ADMIN, TENANT_SERVICE
from tenantry.tenancy.settings import from_environment
from tests.attack.mesh.contracts import Rpc, outcome_of, rpcs
from tests.harness import stores
from tests.harness.fuzz import Result
from tests.harness.fuzz_messages import Requests

AT_ONCE = 8
_RENEWED_AFTER_S = 20.0
_FAILURES = 10
_DEADLINE_S = 20.0
# RPCs that wait for something as long as they are let, and streams that have nothing to say yet.
_WAITING = frozenset({"AwaitEntry", "WatchOperation", "StreamSettledUsage", "WatchQueue"})
_WAITED_S = 0.2
_OVER_NETWORK = 0.05
_ANSWERS = 5
# No input may keep the loop from all others so long. A busy machine does not either, but for a while.
_PAUSE_S = 5.0
_SLOT_BYTES = 4096
# What gets a request behind the first check, by the field's name; the rest is learnt from what is answered.
_SENSIBLE = {
    "key": ("place",),
    "question": ("How long is the warranty?",),
    "system": ("Answer briefly.", "{% if place %}{{ place }}{% endif %}"),
    "user": ("{{ question }}",),
    "output_schema": ("", '{"type": "object"}'),
    "base_url": ("",),
    "locale": ("", "en"),
    "token": ("",),
    "collections": ("default",),
    "end_user": ("", "ann"),
    "model": ("extractive",),
}
NEVER = frozenset({"INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "DATA_LOSS", "DEADLINE_EXCEEDED"})
# The stores are there; only providers may be away.
ENDED = frozenset({"TENANT_NOT_ACTIVE", "CREDENTIAL_INVALID"})
AWAY = frozenset({"STORE_UNAVAILABLE", "SERVICE_UNAVAILABLE"})


class Faults(logging.Handler):
    """Errors that were logged: what is said of each, once."""

    def __init__(self, found: dict[str, str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        places = getattr(record, "places", [])
        about = record.exc_info and repr(record.exc_info[1])
        kind = f"logged: {record.getMessage()} {getattr(record, 'error_type', '')} {places[-3:]}"
        self._found.setdefault(kind, f"{places} {getattr(record, 'causes', '')} {about or ''}")


class People:
    """Callers by role, their assertions renewed long before they end; a new tenant when the old one was deleted."""

    def __init__(self, host: Host, state: Path, requests: Requests) -> None:
        self._host = host
        self._tokens = {name: (state / "tokens" / f"{name}.token").read_text() for name in (*SERVICES, EDGE)}
        self._operator = (state / "secrets" / "operator.key").read_text().strip()
        self._operator_id = b""
        self._requests = requests
        self._number = self._failures = 0
        self._at = float("-inf")
        self._assertions: dict[str, list[tuple[str, str]]] = {}

    def ended(self) -> None:
        """Their tenant was suspended or deleted, or a key revoked: others are made, a second after the last at the earliest."""
        self._at = min(self._at, time.monotonic() - _RENEWED_AFTER_S + 1.0)

    async def renew(self, edge: aio.Channel) -> None:
        """Called often; does something once in a while."""
        if time.monotonic() - self._at < _RENEWED_AFTER_S:
            return
        self._at = time.monotonic()
        self._number += 1
        try:
            await self._renew(edge)
            self._failures = 0
        except aio.AioRpcError:
            # Meanwhile an input may have ended the new ones.
            self._failures += 1
            if self._failures > _FAILURES:
                raise
            self.ended()

    async def _renew(self, edge: aio.Channel) -> None:
        tenant, organisation = f"fuzz-{self._number}", f"fuzz-org-{self._number}"
        tenants, keys = TenantServiceStub(edge), KeyServiceStub(edge)
        operator = (("authorization", f"Bearer {self._operator}"),)
        await tenants.CreateOrganisation(
            tenant_pb.CreateOrganisationRequest(organisation=organisation), metadata=operator
        )
        made = tenant_pb.CreateTenantRequest(tenant=tenant, organisation=organisation, tier=tenant_pb2.TIER_ENTERPRISE)
        operation = (await tenants.CreateTenant(made, metadata=operator)).operation
        asked = tenant_pb.WatchOperationRequest(operation=operation.operation)
        async for _ in tenants.WatchOperation(asked, metadata=operator):
            pass
        for role in (TENANT_ADMIN, TENANT_SERVICE):
            request = key_pb.CreateApiKeyRequest(tenant=tenant, scopes=sorted(ROLES[role]))
            await self._assert(role, (await keys.CreateApiKey(request, metadata=operator)).secret)
        request = key_pb.CreateApiKeyRequest(organisation=organisation, scopes=sorted(ROLES[ORGANISATION_ADMIN]))
        await self._assert(ORGANISATION_ADMIN, (await keys.CreateApiKey(request, metadata=operator)).secret)
        await self._assert(OPERATOR, self._operator)
        operator_assertion = self._assertions[OPERATOR][0][1]
        self._operator_id = jwt.decode(operator_assertion, options={"verify_signature": False})["key"].encode()
        self._requests.know("tenant", tenant)
        self._requests.know("organisation", organisation)

    async def _assert(self, role: str, secret: str) -> None:
        stub = IdentityServiceStub(InProcessChannel(lambda: self._host.registry.handlers("tenancy")))
        request = identity_pb.AuthenticateCallerRequest(credential=secret)
        answer: Any = await stub.AuthenticateCaller(request, metadata=((call.SERVICE, self._tokens["gateway"]),))
        pairs = [(call.ASSERTION, answer.assertion)]
        self._assertions[role] = [*pairs, (call.TENANT, answer.tenant)] if answer.tenant else pairs
        self._requests.know("credential", secret)

    def spared(self, body: bytes) -> bytes:
        """The request, not about the first operator's key: without it nobody could make new callers."""
        return body.replace(self._operator_id, b"x" * len(self._operator_id)) if self._operator_id else body

    def metadata(self, rpc: Rpc, dice: random.Random) -> list[tuple[str, str]]:
        """Proofs that admit a call."""
        access = rpc.access
        carried = [(call.TARGET, rpc.service)]
        if access.audience == "mesh" or (access.services and dice.random() < 0.3):
            carried.append((call.SERVICE, self._tokens[dice.choice(access.services or SERVICES)]))
        if access.caller == "required" or dice.random() < 0.5:
            able = [role for role in self._assertions if not access.scope or access.scope in ROLES[role]]
            if access.audience == "public" or (access.audience == "mesh" and dice.random() < 0.9):
                able = [role for role in able if role in (TENANT_ADMIN, TENANT_SERVICE)]
            carried += self._assertions[dice.choice(able)]
        return carried


class Fuzzer:
    """Sends and judges."""

    def __init__(self, host: Host, state: Path, dice: random.Random, result: Result) -> None:
        self._host = host
        self._dice = dice
        self._result = result
        self._requests = Requests(dice)
        self._people = People(host, state, self._requests)
        for name, values in _SENSIBLE.items():
            self._requests.know(name, *values)
        self._rpcs = deque(rpcs())
        self._seen: set[tuple[str, str, str]] = set()
        self._counts: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._statuses: Counter[str] = Counter()
        self._under_way = os.open(state / "under-way", os.O_CREAT | os.O_RDWR)

    async def send_all(self, inputs: int) -> None:
        """All RPCs in turn, some at once."""
        async with aio.insecure_channel(self._host.edge) as edge, aio.insecure_channel(self._host.mesh) as network:
            left = iter(range(inputs))

            async def work(slot: int) -> None:
                for _ in left:
                    await self._people.renew(edge)
                    await self._send(slot, network)

            await self._people.renew(edge)
            async with asyncio.TaskGroup() as group:
                for slot in range(AT_ONCE):
                    group.create_task(work(slot))
        self._result.inputs = inputs
        self._result.counts, self._result.answered = dict(self._counts), dict(self._answered)
        self._result.statuses = dict(self._statuses)
        os.close(self._under_way)

    async def _send(self, slot: int, network: aio.Channel) -> None:
        rpc = self._rpcs[0]
        self._rpcs.rotate(-1)
        method = rpc.method
        many = self._dice.choice((0, 1, 1, 2, 4)) if method.client_streaming else 1
        bodies = [self._people.spared(self._requests.make(rpc.path, method.input_type)) for _ in range(many)]
        metadata = self._people.metadata(rpc, self._dice)
        told = f"{rpc} {' '.join(body.hex() for body in bodies)}"
        os.pwrite(self._under_way, told[: _SLOT_BYTES - 1].ljust(_SLOT_BYTES - 1).encode() + b"\n", slot * _SLOT_BYTES)
        over_network = self._dice.random() < _OVER_NETWORK
        channel: Any = network if over_network else InProcessChannel(lambda: self._host.registry.handlers(rpc.service))
        began = time.monotonic()
        code, reason = await self._outcome(channel, rpc, bodies, metadata)
        self._counts[str(rpc)] += 1
        self._statuses[code] += 1
        self._answered[str(rpc)] += code == "OK"
        if (str(rpc), code, reason) not in self._seen:
            self._seen.add((str(rpc), code, reason))
            for body in bodies:
                self._requests.keep(rpc.path, body)
        if reason in ENDED:
            self._people.ended()
        waited = rpc.method.name in _WAITING and code == "DEADLINE_EXCEEDED"
        if (code in NEVER and not waited) or reason in AWAY:
            kind = f"{rpc} answered {code} {reason}"
            self._result.found.setdefault(
                kind, f"after {time.monotonic() - began:.1f} s, {metadata[:1]}: {told[:3000]}"
            )

    async def _outcome(
        self, channel: Any, rpc: Rpc, bodies: list[bytes], metadata: list[tuple[str, str]]
    ) -> tuple[str, str]:
        method = rpc.method
        shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
        request: Any = _each(bodies) if method.client_streaming else bodies[0]
        timeout = _WAITED_S if method.name in _WAITING else _DEADLINE_S
        sent = getattr(channel, shape)(rpc.path)(request, timeout=timeout, metadata=metadata)
        peer = PeerStatus(sent) if method.client_streaming else None
        try:
            if method.server_streaming:
                count = 0
                async for answer in sent:
                    self._learn(method.output_type, answer)
                    count += 1
                    if count == _ANSWERS:
                        break
                sent.cancel()
            else:
                self._learn(method.output_type, await sent)
        except aio.AioRpcError as error:
            return outcome_of(await peer.behind(error) if peer is not None else error)
        # What was taken once may be named again: the key of an entry, the id of a document.
        for body in bodies:
            self._learn(method.input_type, body)
        return "OK", ""

    def _learn(self, of: Descriptor, data: bytes) -> None:
        message = GetMessageClass(of)()
        with suppress(DecodeError):
            message.ParseFromString(data)
            self._requests.learn(message)


async def _each(bodies: list[bytes]) -> AsyncIterator[bytes]:
    for body in bodies:
        yield body


@asynccontextmanager
async def _watching_the_loop(result: Result) -> AsyncIterator[None]:
    """Notes how long the loop stood still at most, and where it stood."""
    beat, ended = [time.monotonic()], threading.Event()
    loop_thread = threading.get_ident()

    async def live() -> None:
        while True:
            beat[0] = time.monotonic()
            await asyncio.sleep(0.05)

    def watch() -> None:
        while not ended.wait(0.1):
            pause = time.monotonic() - beat[0]
            if pause > max(result.longest_pause_s, _PAUSE_S):
                places = traceback.extract_stack(sys._current_frames()[loop_thread])[-8:]
                where = " ".join(f"{Path(place.filename).name}:{place.lineno}" for place in places)
                result.found.setdefault(f"the event loop stood still in {places[-1].name}", where)
            result.longest_pause_s = max(result.longest_pause_s, pause)

    living = asyncio.create_task(live())
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        living.cancel()


async def _drive(state: Path, inputs: int, seed: int) -> Result:
    result = Result()
    books, cache = stores.RedisServer(stores.BOOKS), stores.RedisServer(stores.CACHE)
    try:
        books.start()
        cache.start()
        os.environ |= {"TENANTRY_STATE": str(state), "TENANTRY_BOOKS_URL": books.url, "TENANTRY_CACHE_URL": cache.url}
        await initialise(from_environment())
        settings = MeshSettings(
            "127.0.0.1:0", "127.0.0.1:0", {}, tokens=state / "tokens", trace_ratio=0.05, drain_s=5.0
        )
        logging.getLogger().addHandler(Faults(result.found))
        async with hosting(hosted(SERVICES), settings) as host:
            started = time.monotonic()
            async with _watching_the_loop(result):
                await Fuzzer(host, state, random.Random(seed), result).send_all(inputs)
            result.seconds = time.monotonic() - started
    finally:
        books.remove()
        cache.remove()
    return result


def main() -> None:
    """`python -m tests.harness.fuzz_part DIRECTORY INPUTS SEED`: the result as JSON."""
    state, inputs, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    telemetry.log_json("WARNING")
    print(json.dumps(asdict(uvloop.run(_drive(state, inputs, seed)))))


if __name__ == "__main__":
    main()
