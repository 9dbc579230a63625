"""The outbox in Redis: a stream a bucket, hints for its readers, and the books' schema record."""

import secrets
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


class RedisOutbox:
    """An Outbox on the Redis of the books; `grown` are the buckets that the books of this replica name."""

    def __init__(self, redis: Redis, grown: set[int]) -> None:
        self._redis = redis
        self._grown = grown

    async def epoch(self, owner: Platform) -> str:
        """Reads the schema record, or writes it into books that have none, and refuses one that does not fit."""
        fresh = (SCHEMA_VERSION, keys.BUCKETS, secrets.token_hex(8))
        version, buckets, epoch = await self._redis.run(_SCHEMA, [keys.schema_key()], fresh)
        if int(version) > SCHEMA_VERSION:
            raise _unfit(
                f"are of version {int(version)}, and this version of Tenantry knows {SCHEMA_VERSION}; start a newer one"
            )
        if int(buckets) != keys.BUCKETS:
            raise _unfit(f"have {int(buckets)} buckets and not {keys.BUCKETS}; the number can't be changed")
        return epoch.decode()

    async def read(self, owner: Platform, after: Mapping[int, str]) -> Sequence[Batch]:
        commands = [
            ("XRANGE", keys.outbox_key(bucket), f"({position}" if position else "-", "+", "COUNT", ENTRIES_A_BATCH)
            for bucket, position in after.items()
        ]
        pages = await self._redis.pipeline([("HGET", keys.schema_key(), "epoch"), *commands])
        epoch = (pages[0] or b"").decode()
        return [_batch(bucket, epoch, page) for bucket, page in zip(after, pages[1:], strict=True) if page]

    async def acknowledge(self, owner: Platform, positions: Mapping[int, str]) -> None:
        trims = [("XTRIM", keys.outbox_key(bucket), "MINID", "=", _next(last)) for bucket, last in positions.items()]
        if trims:
            await self._redis.pipeline(trims)

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
    """Refuse a Redis that may forget, or whose record does not fit."""
    await require_books(redis)
    await RedisOutbox(redis, set()).epoch(Platform())


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
