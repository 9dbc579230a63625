"""A limit of calls that is used up and stays so: one that leaks is full again before a busy machine has asked."""

import asyncio

from tenantry.kit.owner import Owner
from tenantry.kit.redis import connect
from tenantry.quota import keys
from tenantry.quota.entries import CallLimit

# The counter of `calls.lua`, as if its last call were to come in a minute: a clock that went back leaks nothing.
_FILL = """
local now = redis.call('TIME')
local counter = {ARGV[1] * 60000000, (now[1] + 60) * 1000000, tonumber(ARGV[2])}
redis.call('SET', KEYS[1], cmsgpack.pack(counter), 'PX', 60000)
"""


async def use_up(books: str, owner: Owner, limit: CallLimit) -> None:
    """Nobody of this owner's may enter for a minute."""
    redis = connect(books, store="books")
    try:
        await redis.execute("EVAL", _FILL, 1, keys.calls_key(owner), limit.burst, limit.calls_per_minute)
    finally:
        await redis.close()


def use_up_now(books: str, owner: Owner, limit: CallLimit) -> None:
    """The same for tests that block."""
    asyncio.run(use_up(books, owner, limit))
