"""Wires cache: its Redis, its secret, its services."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tenantry.api.cache.v1.cache_service_pb2_grpc import add_CacheServiceServicer_to_server
from tenantry.cache.answers import Answers
from tenantry.cache.service import CacheService, readable
from tenantry.cache.settings import Settings
from tenantry.cache.store_redis import RedisEntries
from tenantry.kit import lifecycle, redis
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.key_file import read_or_make
from tenantry.kit.server import Room


@asynccontextmanager
async def build(settings: Settings, mesh: Mesh) -> AsyncGenerator[Room]:
    """The room, while the block runs. It starts without its Redis too: the gateway goes on without a cache."""
    connection = redis.connect(settings.cache_url, store="cache")
    try:
        secret = await asyncio.to_thread(read_or_make, settings.key_file)
        entries = RedisEntries(connection, settings.terms)
        answers = Answers(entries, secret, readable, SystemClock(), settings.terms)
        try:
            yield Room(
                "cache",
                [
                    (add_CacheServiceServicer_to_server, CacheService(answers)),
                    (lifecycle.add_to_server, lifecycle.LifecycleService(answers.provision, answers.deprovision)),
                ],
            )
        finally:
            await answers.close()
    finally:
        await connection.close()
