"""A Redis Cluster behind the same calls as one server: each goes to the primary of its key's slot.

Which server has which slots is asked when the first call comes, when a server says that another has them (MOVED), and when one is
lost. Only what did not run is sent again: after MOVED and ASK nothing ran, after a lost connection it may have. Source: Redis
cluster specification.
"""

import asyncio
import binascii
import re
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from typing import Any, cast

from tenantry.kit.errors import StoreUnavailable
from tenantry.kit.redis_faults import translate
from tenantry.kit.redis_link import LostConnection, ReplyError, Target
from tenantry.kit.redis_script import Arg, Script, reply_of
from tenantry.kit.redis_server import Server

SLOTS = 16_384
# Commands that have no key; they go to any server.
_KEYLESS = frozenset({"TIME", "PING", "INFO"})
_MOST_HOPS = 4
# How often at most it is asked who has which slots: all calls that fail together ask once.
_LOOK_EVERY_S = 0.1
# Where the key stands in a call of a script.
_SCRIPTS = frozenset({"EVAL", "EVALSHA"})
# What a server says that no longer has its place in the cluster.
_MISPLACED = frozenset({"CLUSTERDOWN", "READONLY", "MASTERDOWN"})
_EPOCH = re.compile(rb"cluster_current_epoch:(\d+)")

Place = tuple[str, int]


def slot_of_key(key: str | bytes) -> int:
    """CRC16 (XMODEM) of the key, or of what stands between its first braces, over the slots."""
    name = key.encode() if isinstance(key, str) else key
    begin = name.find(b"{")
    end = name.find(b"}", begin + 1)
    if begin >= 0 and end > begin + 1:
        name = name[begin + 1 : end]
    return binascii.crc_hqx(name, 0) % SLOTS


def slot_of(command: Sequence[Arg]) -> int | None:
    """The slot of the command's key; None when it has none."""
    name = str(command[0])
    if name in _KEYLESS:
        return None
    key = command[3] if name in _SCRIPTS else command[1]
    return slot_of_key(key if isinstance(key, bytes) else str(key))


class Cluster:
    """A store's way to a cluster. `seeds` are some of its servers; the others are found by them."""

    def __init__(self, seeds: Sequence[Target], store: str, connections: int) -> None:
        self._seeds = seeds
        self._store = store
        self._connections = connections
        self._servers: dict[Place, Server] = {}
        # The primary of each slot, and all that are known, replicas too.
        self._primaries: list[Place | None] = [None] * SLOTS
        self._places: list[Place] = []
        self._epoch = 0
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")

    async def execute(self, *command: Arg) -> Any:
        return self._checked((await self.replies([command]))[0])

    async def pipeline(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        return [self._checked(reply) for reply in await self.replies(commands)]

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = ()) -> Any:
        return self._checked(await reply_of(script, keys, args, self.replies))

    async def scan(self, pattern: str, count: int = 500) -> AsyncGenerator[bytes]:
        for place in await self._all_primaries():
            async for key in self._server(place).scan(pattern, count):
                yield key

    async def servers(self) -> Sequence[Server]:
        await self._look()
        return [self._server(place) for place in self._places]

    async def ping(self) -> None:
        await asyncio.gather(*(self._server(place).ping() for place in await self._all_primaries()))

    @property
    def busy(self) -> int:
        return sum(server.busy for server in self._servers.values())

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.gather(*(server.close() for server in self._servers.values()))

    async def replies(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """What the servers answer, one trip to each that is asked, side by side. Errors are values."""
        if not self._places:
            await self._look()
        parts: dict[Place, list[int]] = {}
        for number, command in enumerate(commands):
            parts.setdefault(self._primary(slot_of(command)), []).append(number)
        found: list[Any] = [None] * len(commands)

        async def ask(place: Place, numbers: Sequence[int]) -> None:
            replies = await self._ask(place, [commands[number] for number in numbers])
            for number, reply in zip(numbers, replies, strict=True):
                found[number] = await self._follow(place, commands[number], reply)

        await asyncio.gather(*(ask(place, numbers) for place, numbers in parts.items()))
        return found

    async def _ask(self, place: Place, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        try:
            replies = await self._server(place).replies(commands)
        except StoreUnavailable:  # nothing was sent
            self._look_soon()
            raise
        if any(_is_sign_of_change(reply) for reply in replies):
            self._look_soon()
        return replies

    async def _follow(self, place: Place, command: Sequence[Arg], reply: Any) -> Any:
        """The reply of the server that has the slot: the one before says which it is."""
        for _ in range(_MOST_HOPS):
            if not isinstance(reply, ReplyError) or reply.code not in ("MOVED", "ASK"):
                break
            place = _place_of(str(reply), place)
            if reply.code == "MOVED":
                self._look_soon()
                [reply] = await self._ask(place, [command])
            else:  # the slot is on its way there
                [_, reply] = await self._ask(place, [("ASKING",), command])
        return reply

    def _primary(self, slot: int | None) -> Place:
        place = self._places[0] if slot is None else self._primaries[slot]
        if place is None:
            self._look_soon()
            raise StoreUnavailable(self._store)
        return place

    async def _all_primaries(self) -> list[Place]:
        await self._look()
        return list(dict.fromkeys(place for place in self._primaries if place is not None))

    def _server(self, place: Place) -> Server:
        server = self._servers.get(place)
        if server is None:
            host, port = place
            target = replace(self._seeds[0], host=host, port=port)
            server = self._servers[place] = Server(target, self._store, self._connections)
        return server

    def _look_soon(self) -> None:
        """Begin to ask who has which slots, unless somebody does or just did."""
        now = asyncio.get_running_loop().time()
        if self._looking is None and now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._looking = asyncio.create_task(self._find())
            self._looking.add_done_callback(self._found)

    def _found(self, task: "asyncio.Task[None]") -> None:
        self._looking = None
        if not task.cancelled():
            task.exception()  # those who wait for it have it

    async def _look(self) -> None:
        if self._looking is None:
            self._looking = asyncio.create_task(self._find())
            self._looking.add_done_callback(self._found)
        await asyncio.shield(self._looking)

    async def _find(self) -> None:
        """Ask one server after the other until one tells; StoreUnavailable when none does. One that is cut off from most others
        says that the cluster has failed, or knows only an older epoch."""
        seeds = [(seed.host, seed.port) for seed in self._seeds]
        for place in dict.fromkeys([*self._places, *seeds]):
            try:
                info, shards = await self._server(place).replies([("CLUSTER", "INFO"), ("CLUSTER", "SLOTS")])
            except StoreUnavailable:
                continue
            epoch = _EPOCH.search(info) if isinstance(info, bytes) and b"cluster_state:ok" in info else None
            if epoch is not None and int(epoch[1]) >= self._epoch and isinstance(shards, list):
                self._epoch = int(epoch[1])
                await self._take(place, cast("list[Any]", shards))
                return
        raise StoreUnavailable(self._store)

    async def _take(self, told_by: Place, shards: Iterable[Any]) -> None:
        """Each is [first slot, last slot, primary, replica, ...], a server [host, port, id, ...]."""
        primaries: list[Place | None] = [None] * SLOTS
        places: dict[Place, None] = {}
        for first, last, *servers in shards:
            found = [(_host(server[0], told_by), int(server[1])) for server in servers]
            primaries[first : last + 1] = [found[0]] * (last + 1 - first)
            places |= dict.fromkeys(found)
        self._primaries, self._places = primaries, list(places)
        gone = [place for place in self._servers if place not in places]
        await asyncio.gather(*(self._servers.pop(place).close() for place in gone))

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, Exception):
            raise translate(reply, self._store) from None
        return reply


def _is_sign_of_change(reply: Any) -> bool:
    return isinstance(reply, LostConnection) or (isinstance(reply, ReplyError) and reply.code in _MISPLACED)


def _place_of(words: str, told_by: Place) -> Place:
    """`MOVED 3999 127.0.0.1:6381`; without a host it is the one that said so."""
    host, _, port = words.split(" ")[2].rpartition(":")
    return _host(host, told_by), int(port)


def _host(host: Any, told_by: Place) -> str:
    text = host.decode() if isinstance(host, bytes) else host
    return text if text and text != "?" else told_by[0]
