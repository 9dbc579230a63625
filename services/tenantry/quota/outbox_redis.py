"""The outbox in Redis: a stream a bucket, hints for its readers, and the books' schema record.

Ids of a stream rise, but only within one history of the data: a failover may forget the newest entries, and a primary whose
clock is behind then gives later entries lower ids. So a cursor's epoch is the history's name, Redis's replication id, which is
another one after each start and each promotion ("a given history of the dataset":
https://redis.io/docs/latest/operate/oss_and_stack/management/replication/).
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.owner import Platform
from tenantry.kit.redis import Redis, Script, require_books
from tenantry.quota import keys
from tenantry.quota.codec import read_ask, read_settled
from tenantry.quota.entries import Batch, Cursor, Settled, estimate_of
from tenantry.quota.store import ENTRIES_A_BATCH

SCHEMA_VERSION = 1
_SCHEMA = Script.load("tenantry.quota.scripts", "schema")
_HINT = Script.load("tenantry.quota.scripts", "hint")
_READ = Script.load("tenantry.quota.scripts", "read_outbox")
_ACKNOWLEDGE = Script.load("tenantry.quota.scripts", "acknowledge")


class RedisOutbox:
    """An Outbox on the Redis of the books; `grown` are the buckets that the books of this replica name."""

    def __init__(self, redis: Redis, grown: set[int]) -> None:
        self._redis = redis
        self._grown = grown

    async def read(self, owner: Platform, after: Sequence[Cursor]) -> Sequence[Batch]:
        reads = (
            self._redis.run(_READ, [keys.outbox_key(cursor.bucket)], (cursor.epoch, cursor.position, ENTRIES_A_BATCH))
            for cursor in after
        )
        found = zip(after, await asyncio.gather(*reads), strict=True)
        return [_batch(cursor.bucket, history.decode(), page) for cursor, (history, page) in found if page]

    async def acknowledge(self, owner: Platform, cursors: Sequence[Cursor]) -> None:
        trims = (
            self._redis.run(_ACKNOWLEDGE, [keys.outbox_key(cursor.bucket)], (cursor.epoch, _next(cursor.position)))
            for cursor in cursors
        )
        await asyncio.gather(*trims)

    async def announce(self, owner: Platform) -> None:
        grown = tuple(self._grown)
        if not grown:
            return
        self._grown.difference_update(grown)
        try:
            await self._redis.run(_HINT, [keys.hints_key()], grown)
        except BaseException:
            self._grown.update(grown)
            raise

    async def grown(self, owner: Platform, since: int) -> tuple[Sequence[int], int]:
        hints = await self._redis.execute("ZRANGEBYSCORE", keys.hints_key(), since, "+inf", "WITHSCORES")
        # The same microsecond may bring another hint, so that the next look begins with it and not after it.
        return [int(bucket) for bucket, _ in hints], max((int(float(score)) for _, score in hints), default=since)


async def check_books(redis: Redis) -> None:
    """Refuse a Redis that may forget, or whose schema record does not fit; books that have none get one."""
    await require_books(redis)
    version, buckets = map(int, await redis.run(_SCHEMA, [keys.schema_key()], (SCHEMA_VERSION, keys.BUCKETS)))
    if version > SCHEMA_VERSION:
        raise _unfit(
            f"are of version {version}, and this version of Tenantry knows {SCHEMA_VERSION}; start a newer one"
        )
    if buckets != keys.BUCKETS:
        raise _unfit(f"have {buckets} buckets and not {keys.BUCKETS}; the number can't be changed")


def _batch(bucket: int, epoch: str, page: Sequence[tuple[bytes, Sequence[bytes]]]) -> Batch:
    entries = tuple(_entry(dict(zip(fields[::2], fields[1::2], strict=True))) for _, fields in page)
    return Batch(entries, Cursor(bucket, epoch, page[-1][0].decode()))


def _entry(fields: Mapping[bytes, Any]) -> Settled:
    at_us, reserved_us = int(fields[b"t"]), int(fields[b"r"])
    if not reserved_us:
        return read_settled(fields[b"b"], at_us)
    ask = read_ask(fields[b"b"])
    output = int(fields.get(b"o", ask.max_output_tokens))  # an entry of the first version has none
    return estimate_of(ask, at_us, reserved_us, output, int(fields.get(b"c", 0)))


def _next(position: str) -> str:
    milliseconds, _, sequence = position.partition("-")
    return f"{milliseconds}-{int(sequence) + 1}"


def _unfit(what: str) -> FailedPrecondition:
    return FailedPrecondition(Reason.STORE_UNFIT, f"the books {what}")
