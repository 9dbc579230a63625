"""Callers that reserve and settle at several replicas of quota, whatever happens to them, and what is true afterwards.

Every reservation that was answered is remembered with when Redis says it was taken, and every settlement that was acknowledged;
`Load.check` compares them with the limit and with what the ledger gets.
"""

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tenantry.api.common.v1.usage_pb2 import OUTCOME_OK, Usage
from tenantry.api.lifecycle.v1.lifecycle_service_pb2 import ProvisionTenantRequest
from tenantry.api.lifecycle.v1.lifecycle_service_pb2_grpc import LifecycleServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1 import reservation_service_pb2 as pb
from tenantry.api.quota.v1 import settlement_service_pb2 as settlement_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.quota.v1.reservation_service_pb2_grpc import ReservationServiceStub
from tenantry.api.quota.v1.settlement_service_pb2_grpc import SettlementServiceStub
from tenantry.kit.errors import ResourceExhausted, TenantryError
from tenantry.kit.redis import Redis
from tenantry.quota import keys
from tenantry.quota.holds import Terms
from tests.harness.poll import until
from tests.harness.room import Served, caller_of

_RETRIES = 40
_PAUSE_S = 0.25
_REFUSED_PAUSE_S = 2.0
_MOST_TOKENS = 100


@dataclass(frozen=True, slots=True)
class Limit:
    """Requests a minute, and at once."""

    per_minute: int
    burst: int

    @property
    def per_us(self) -> float:
        return self.per_minute / 60_000_000


@dataclass(slots=True)
class Outcome:
    """What was answered. `admitted` is when each reservation was taken, in microseconds of Redis; `settled` what was
    acknowledged of each, and `heard` when, in monotonic seconds; `over` the most that was admitted above the limit in any
    interval; `askew_us` by how much the time of an admission is outside the call that asked for it. Of callers who went away,
    those in `renewed` had renewed their hold, those in `cut` had sent a settlement (by when they were admitted, and its tokens),
    and `estimated` are the estimates that the ledger got. Of `late` the hold had ended before the settlement came. `outlived_us`
    is how long a hold was there at most after its end, while `watch_ends` looked."""

    admitted: dict[str, int] = field(default_factory=dict[str, int])
    settled: dict[str, int] = field(default_factory=dict[str, int])
    heard: dict[str, float] = field(default_factory=dict[str, float])
    renewed: list[str] = field(default_factory=list[str])
    cut: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    late: set[str] = field(default_factory=set[str])
    left: int = 0
    refused: int = 0
    unavailable: int = 0
    lost: list[str] = field(default_factory=list[str])
    doubled: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    estimated: list[str] = field(default_factory=list[str])
    leaked: int = 0
    outlived_us: int = 0
    over: float = 0.0
    askew_us: int = 0


class Load:
    """Loops of callers of one tenant. `replicas` may be replaced while they run: the test kills and starts them. `leaving` is the
    share of calls whose caller goes away as a gateway that is killed: before it has renewed, afterwards, or while it settles."""

    def __init__(self, replicas: list[Served], limit: Limit, terms: Terms, leaving: float = 0.0) -> None:
        mark = secrets.token_hex(4)
        self.replicas = replicas
        self.limit = limit
        self.caller = caller_of(f"load-{mark}", f"load-{mark}-org", scopes={"limits.read"})
        self.outcome = Outcome()
        self._hold_us = terms.hold_us
        self._leaving = leaving
        self._dice = random.Random(7)
        self._stopped = asyncio.Event()

    async def onboard(self) -> None:
        """The tenant with its limit."""
        room = self.replicas[0]
        caller = self.caller
        request = ProvisionTenantRequest(tenant=caller.tenant, organisation=caller.organisation, tier="enterprise")
        await LifecycleServiceStub(room.channel(service="tenancy")).ProvisionTenant(request)
        limits = limit_pb.QuotaLimits(
            requests_per_minute=self.limit.per_minute, request_burst=self.limit.burst, concurrent_requests=100_000
        )
        with room.calling(caller_of("", "", scopes={"limits.write"})):
            update = limit_pb.UpdateQuotaLimitsRequest(tenant=caller.tenant, overrides=limits)
            await LimitServiceStub(room.channel()).UpdateQuotaLimits(update)

    @asynccontextmanager
    async def running(self, callers: int) -> AsyncIterator[None]:
        """So many callers at once while the block runs; then each ends what it has begun."""
        async with asyncio.TaskGroup() as group:
            for _ in range(callers):
                group.create_task(self._call())
            try:
                yield
            finally:
                self._stopped.set()

    async def _call(self) -> None:
        while not self._stopped.is_set():
            asked_us = time.time_ns() // 1000
            receipt = await self._reserve()
            if receipt is not None:
                at_us = receipt.reserve_time.ToMicroseconds()
                astray = max(asked_us - at_us, at_us - time.time_ns() // 1000)
                self.outcome.askew_us = max(self.outcome.askew_us, astray)
                if self._dice.random() < self._leaving:
                    await self._leave(receipt)
                else:
                    self.outcome.admitted[receipt.reservation] = at_us
                    await self._settle(receipt)
            await asyncio.sleep(self._dice.uniform(0, 0.02 if receipt is not None else _REFUSED_PAUSE_S))

    async def _reserve(self) -> pb.Receipt | None:
        request = pb.ReserveQuotaRequest(
            nonce=secrets.token_hex(16), model="m", input_tokens=_MOST_TOKENS, request_id="req_1"
        )
        for _ in range(3):
            room = self._dice.choice(self.replicas)
            try:
                with room.calling(self.caller):
                    stub = ReservationServiceStub(room.channel(service="gateway"))
                    return (await stub.ReserveQuota(request, timeout=5)).receipt
            except ResourceExhausted:
                self.outcome.refused += 1
                return None
            except TenantryError:
                self.outcome.unavailable += 1
                await asyncio.sleep(_PAUSE_S)
        return None

    async def _settle(self, receipt: pb.Receipt) -> None:
        """As the gateway does: until it is acknowledged."""
        used = self._dice.randrange(1, _MOST_TOKENS)
        for _ in range(_RETRIES):
            try:
                await self._commit(receipt, used)
                self.outcome.settled[receipt.reservation] = used
                self.outcome.heard[receipt.reservation] = time.monotonic()
                return
            except TenantryError:
                await asyncio.sleep(_PAUSE_S)

    async def _commit(self, receipt: pb.Receipt, used: int) -> None:
        usage = Usage(output_tokens=used, model="m", outcome=OUTCOME_OK, request_id="req_1")
        stub = ReservationServiceStub(self._dice.choice(self.replicas).channel(service="gateway"))
        await stub.CommitReservation(pb.CommitReservationRequest(receipt=receipt, usage=usage), timeout=5)

    async def _leave(self, receipt: pb.Receipt) -> None:
        self.outcome.left += 1
        at_us = receipt.reserve_time.ToMicroseconds()
        with contextlib.suppress(TenantryError, TimeoutError):
            if self.outcome.left % 3 == 1:
                stub = ReservationServiceStub(self._dice.choice(self.replicas).channel(service="gateway"))
                await stub.RenewReservation(pb.RenewReservationRequest(receipt=receipt), timeout=5)
                self.outcome.renewed.append(receipt.reservation)
                self.outcome.admitted[receipt.reservation] = at_us
            elif self.outcome.left % 3 == 2:
                used = self._dice.randrange(1, _MOST_TOKENS)
                self.outcome.cut[receipt.reservation] = at_us, used
                async with asyncio.timeout(self._dice.uniform(0, 0.1)):
                    await self._commit(receipt, used)

    async def check(self, seconds: float = 30.0) -> Outcome:
        """What is true once the ledger has got all there is, and every hold has ended that nobody settled."""
        outcome = self.outcome
        await self._settle_last(seconds)
        ledger = await self._ledger({*outcome.settled, *outcome.renewed}, seconds)
        said = outcome.settled | {name: used for name, (_, used) in outcome.cut.items()}
        outcome.lost = [name for name in (*outcome.settled, *outcome.renewed) if name not in ledger]
        outcome.doubled = [name for name, entries in ledger.items() if len(entries) > 1]
        outcome.wrong = [name for name, used in said.items() if name in ledger and ledger[name][0] != used]
        admitted = outcome.admitted | {name: at_us for name, (at_us, _) in outcome.cut.items() if name in ledger}
        # What is settled once its hold has ended held nothing any more: it is a debt on later admissions.
        outcome.over = over([at_us for name, at_us in admitted.items() if name not in outcome.late], self.limit)
        outcome.leaked = await self.holds()
        return outcome

    async def _settle_last(self, seconds: float) -> None:
        """One more: in its bucket's order it comes behind all that was settled before, so that nothing is overlooked."""
        receipts: list[pb.Receipt] = []

        async def reserved() -> bool:
            receipts.extend(receipt for receipt in [await self._reserve()] if receipt is not None)
            return bool(receipts)

        await until(reserved, within_s=seconds, every_s=_PAUSE_S)
        self.outcome.admitted[receipts[0].reservation] = receipts[0].reserve_time.ToMicroseconds()
        await self._settle(receipts[0])

    async def holds(self) -> int:
        """How many there are."""
        room = self.replicas[0]
        with room.calling(self.caller):
            usage = await LimitServiceStub(room.channel()).GetQuotaUsage(limit_pb.GetQuotaUsageRequest(), timeout=10)
        return usage.requests_running

    def _is_late(self, entry: settlement_pb.SettledUsage) -> bool:
        began_us = self.outcome.admitted.get(entry.reservation) or self.outcome.cut[entry.reservation][0]
        return entry.settle_time.ToMicroseconds() - began_us > self._hold_us

    async def watch_ends(self, books: Redis) -> None:
        """For ever, how long a hold stays after its end."""
        key = keys.ends_key(keys.bucket_of(self.caller.organisation))
        while True:
            seconds, micros = await books.execute("TIME")
            now_us = int(seconds) * 1_000_000 + int(micros)
            past = await books.execute("ZRANGEBYSCORE", key, "-inf", now_us, "WITHSCORES")
            ends = [now_us - int(end_us) for member, end_us in past if member.startswith(b"h")]
            self.outcome.outlived_us = max(self.outcome.outlived_us, *ends, 0)
            await asyncio.sleep(_PAUSE_S)

    async def _ledger(self, wanted: set[str], seconds: float) -> dict[str, list[int]]:
        """Each reservation's entries, as a reader of the outbox gets them that stores each once by its position."""
        found: dict[str, list[int]] = {}
        positions: set[tuple[int, str]] = set()

        async def ask() -> AsyncIterator[settlement_pb.StreamSettledUsageRequest]:
            yield settlement_pb.StreamSettledUsageRequest()
            await asyncio.Event().wait()

        stub = SettlementServiceStub(self.replicas[0].channel(service="insight"))
        stream = stub.StreamSettledUsage(ask())
        try:
            async with asyncio.timeout(seconds):
                async for batch in stream:
                    place = (batch.cursor.bucket, batch.cursor.position)
                    if place in positions:
                        continue
                    positions.add(place)
                    for entry in batch.entries:
                        if entry.tenant == self.caller.tenant:
                            found.setdefault(entry.reservation, []).append(entry.usage.output_tokens)
                            if entry.estimated:
                                self.outcome.estimated.append(entry.reservation)
                            elif self._is_late(entry):
                                self.outcome.late.add(entry.reservation)
                    if wanted <= found.keys():
                        break
        except TimeoutError:
            pass
        finally:
            stream.cancel()
        return found


def over(times_us: Sequence[int], limit: Limit) -> float:
    """By how much the admissions of any interval exceed burst + rate·t at most; 0 or less when none does."""
    level = most = 0.0
    last = 0
    for at_us in sorted(times_us):
        level = max(0.0, level - (at_us - last) * limit.per_us) + 1
        last = at_us
        most = max(most, level)
    return most - limit.burst
