"""A Valkey cluster of three primaries and three replicas on this machine, whose servers a test may kill and start again."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis

from tests.harness.poll import until
from tests.harness.ports import free_port
from tests.harness.stores import BOOKS, RedisServer

PRIMARIES = 3
NODE_TIMEOUT_MS = 1_000
_SLOTS = 16_384
_WITHIN_S = 30.0
# First and last slot, the primary, and its replica.
_WITH_REPLICA = 4


class RedisCluster:
    """Servers 0 to 2 begin as primaries, 3 to 5 as their replicas."""

    def __init__(self, settings: Sequence[str] = BOOKS) -> None:
        self._buses = [free_port() for _ in range(2 * PRIMARIES)]
        self.servers = [RedisServer((*settings, *_cluster(bus))) for bus in self._buses]

    @property
    def url(self) -> str:
        """Two of its servers are enough to find all."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:2])

    async def start(self) -> None:
        for server in self.servers:
            server.start()
        first, *others = self.servers
        for server, bus in zip(others, self._buses[1:], strict=True):
            await ask(first, "CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        for place, server in enumerate(self.servers[:PRIMARIES]):
            begin, end = place * _SLOTS // PRIMARIES, (place + 1) * _SLOTS // PRIMARIES - 1
            await ask(server, "CLUSTER", "ADDSLOTSRANGE", begin, end)
        await until(self._all_know_all, within_s=_WITHIN_S)
        for primary, replica in zip(self.servers[:PRIMARIES], self.servers[PRIMARIES:], strict=True):
            await ask(replica, "CLUSTER", "REPLICATE", await ask(primary, "CLUSTER", "MYID"))
        await until(self.is_whole, within_s=_WITHIN_S)

    async def is_whole(self) -> bool:
        """Whether all servers run, agree that all is well, each replica follows its primary, and all know of it."""
        for server in self.servers:
            if not server.is_running or b"cluster_state:ok" not in await ask(server, "CLUSTER", "INFO"):
                return False
            shards = await ask(server, "CLUSTER", "SLOTS")
            if any(len(shard) < _WITH_REPLICA for shard in shards):
                return False
            role = await ask(server, "ROLE")
            if role[0] == b"slave" and role[3] != b"connected":
                return False
        return True

    async def primary_of(self, key: str) -> RedisServer:
        """Who has the key's slot now, as one that runs says."""
        teller = next(server for server in self.servers if server.is_running)
        slot = await ask(teller, "CLUSTER", "KEYSLOT", key)
        shards = await ask(teller, "CLUSTER", "SLOTS")
        port = next(primary[1] for first, last, primary, *_ in shards if first <= slot <= last)
        return next(server for server in self.servers if server.port == port)

    def remove(self) -> None:
        for server in self.servers:
            server.remove()

    async def _all_know_all(self) -> bool:
        known = [await ask(server, "CLUSTER", "NODES") for server in self.servers]
        return all(nodes.count(b" connected") == len(self.servers) and b"handshake" not in nodes for nodes in known)


async def ask(server: RedisServer, *command: str | int | bytes) -> Any:
    """A command to one server, its reply as it comes."""
    async with Redis(port=server.port, single_connection_client=True, protocol=2) as client:
        client.response_callbacks.clear()
        return await client.execute_command(*command)


@contextmanager
def running_cluster() -> Iterator[RedisCluster]:
    """A cluster, until the end of the block. Not to be begun while an event loop runs."""
    cluster = RedisCluster()
    try:
        asyncio.run(cluster.start())
        yield cluster
    finally:
        cluster.remove()


def _cluster(bus: int) -> tuple[str, ...]:
    timeout = ("--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0")
    return ("--cluster-enabled", "yes", "--cluster-port", str(bus), *timeout)
