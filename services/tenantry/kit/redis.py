"""The one way to Redis or Valkey: a few shared connections whose calls survive their caller's cancellation, and scripts by hash.

Replies are as the server gives them in RESP3, text as bytes: what is stored is mostly protobuf, and a decoder would guess.
Nothing is repeated behind the caller's back, because a script that was sent may have run. Commands that block on the server
(BLPOP, WAIT) have no place here: calls share a connection, and those behind would wait too.
"""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any, TypeVar

import hiredis

from tenantry.kit.errors import FailedPrecondition, Reason, StoreFailed, StoreUnavailable, TenantryError
from tenantry.kit.redis_link import Link, LostConnection, ReplyError, Target, open_link, parse_url

T = TypeVar("T")
Arg = str | bytes | int | float

# How long a call may wait for a connection and for room to send, and how long for the server's answer.
WAIT_S = 1.0
ANSWER_S = 5.0
# How many calls may be under way on one connection; more are refused at once.
MOST_DUE = 4096

# What can go wrong on the way, and whether the same call may succeed later. Tests fail on an exception of hiredis, and on a
# code of redis-py's list of error replies, that is missing here.
TRANSIENT: dict[type[Exception], bool] = {
    LostConnection: True,
    OSError: True,  # TimeoutError and TLS errors are among them
    hiredis.ProtocolError: True,
    hiredis.ReplyError: False,
    hiredis.HiredisError: False,
}
TRANSIENT_CODES: dict[str, bool] = {
    "ERR": False,
    "WRONGTYPE": False,
    "NOSCRIPT": False,
    "EXECABORT": False,
    "CROSSSLOT": False,
    "NOAUTH": False,
    "WRONGPASS": False,
    "NOPERM": False,
    "DENIED": False,  # protected mode
    "NOPROTO": False,  # older than Redis 6
    "BUSYGROUP": False,
    "NOGROUP": False,
    "LOADING": True,
    "BUSY": True,  # with another script
    "OOM": True,
    "MISCONF": True,  # it can't write its AOF
    "READONLY": True,  # a replica: the primary has moved
    "MASTERDOWN": True,
    "NOREPLICAS": True,
    "CLUSTERDOWN": True,
    "TRYAGAIN": True,
    "MOVED": True,
    "ASK": True,
    "UNBLOCKED": True,
}
_TOO_MANY_CLIENTS = "ERR max number of clients"


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script that is called by its hash and sent in full only to a server that does not know it."""

    name: str
    text: str
    sha: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha", hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest())

    @classmethod
    def load(cls, package: str, name: str) -> "Script":
        """The file `<name>.lua` that ships in `package`."""
        return cls(name, resources.files(package).joinpath(f"{name}.lua").read_text("utf-8"))


class Redis:
    """A store's way to one Redis. `store` is our name for it in errors: `books` or `cache`."""

    def __init__(self, url: str, store: str, connections: int) -> None:
        self._target = _target(url, store)
        self._store = store
        self._links: list[Link | None] = [None] * connections
        self._opening: dict[int, asyncio.Task[Link]] = {}
        self._next = 0

    async def execute(self, *command: Arg) -> Any:
        """One command, each word an argument: ("CONFIG", "GET", "maxmemory")."""
        link = await self._link()
        return self._checked(await link.send(*command))

    async def pipeline(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """Several commands in one trip, not atomic. The first reply that is an error is raised once all have come."""
        link = await self._link()
        replies = await asyncio.gather(*(link.send(*command) for command in commands))
        return [self._checked(reply) for reply in replies]

    async def run(self, script: Script, keys: Sequence[str | bytes], args: Sequence[Arg] = ()) -> Any:
        """The script's reply. All keys must share one slot."""
        link = await self._link()
        reply = await link.send("EVALSHA", script.sha, len(keys), *keys, *args)
        if (
            isinstance(reply, ReplyError) and reply.code == "NOSCRIPT"
        ):  # it did not run, so sending it in full is no repetition
            reply = await link.send("EVAL", script.text, len(keys), *keys, *args)
        return self._checked(reply)

    async def scan(self, pattern: str, count: int = 500) -> AsyncGenerator[bytes]:
        """Every key that matches, maybe twice if it moved meanwhile. For clearing up and for tests, not for requests."""
        cursor = b"0"
        while True:
            cursor, found = await self.execute("SCAN", cursor, "MATCH", pattern, "COUNT", count)
            for key in found:
                yield key
            if cursor == b"0":
                return

    async def ping(self) -> None:
        """Return if the server answers; otherwise StoreUnavailable."""
        await self.execute("PING")

    @property
    def busy(self) -> int:
        """How many calls are under way, those whose caller has gone included."""
        return sum(link.due for link in self._links if link is not None)

    async def close(self) -> None:
        """Close the connections; whoever still waits gets StoreUnavailable."""
        for link in self._links:
            if link is not None:
                link.lose()
        for opening in list(self._opening.values()):
            opening.cancel()
        await asyncio.sleep(0)  # the event loop tells the links in its next turn

    async def _link(self) -> Link:
        """The next connection in turn, opened if it is not there. A call may still be cancelled for free here."""
        self._next = (self._next + 1) % len(self._links)
        link = self._links[self._next]
        if link is None or not link.is_alive:
            link = await self._open(self._next)
        if not link.writable.is_set():
            await self._in_time(link.writable.wait())
        if link.due >= MOST_DUE:
            raise StoreUnavailable(self._store)
        return link

    async def _open(self, place: int) -> Link:
        """One attempt at a time for each place, whoever asks and whoever goes."""
        opening = self._opening.get(place)
        if opening is None:
            opening = self._opening[place] = asyncio.create_task(self._in_time(open_link(self._target, ANSWER_S)))
            opening.add_done_callback(lambda task: self._opened(place, task))
        return await asyncio.shield(opening)

    def _opened(self, place: int, task: asyncio.Task[Link]) -> None:
        del self._opening[place]
        if not task.cancelled() and task.exception() is None:
            self._links[place] = task.result()

    async def _in_time(self, waiting: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(WAIT_S):
                return await waiting
        except Exception as error:
            raise translate(error, self._store) from None

    def _checked(self, reply: Any) -> Any:
        if isinstance(reply, Exception):
            raise translate(reply, self._store) from None
        return reply


def _target(url: str, store: str) -> Target:
    try:
        return parse_url(url)
    except ValueError:  # not shown: an address may hold a password
        message = f"the address of {store} is not one; it begins with redis://, rediss:// or unix://"
        raise FailedPrecondition(Reason.STORE_UNFIT, message) from None


def connect(url: str, *, store: str, connections: int = 2) -> Redis:
    """A client of the Redis at `url` (redis://, rediss:// or unix://). No connection is made before the first call."""
    return Redis(url, store, connections)


def translate(error: Exception, store: str) -> TenantryError:
    """The one mapping of what goes wrong. The server's words stay out: they may quote keys and arguments."""
    if isinstance(error, ReplyError):
        if TRANSIENT_CODES.get(error.code, False) or str(error).startswith(_TOO_MANY_CLIENTS):
            return StoreUnavailable(store)
        return StoreFailed(f"{store}: the server replied {error.code or 'an error without a code'}")
    if next((TRANSIENT[ancestor] for ancestor in type(error).__mro__ if ancestor in TRANSIENT), False):
        return StoreUnavailable(store)
    return StoreFailed(f"{store}: {type(error).__name__}")


async def config_of(redis: Redis, *names: str) -> dict[str, str]:
    """The server's settings of these names, as it spells them."""
    settings: dict[str, str] = {}
    for name in names:
        reply = await redis.execute("CONFIG", "GET", name)
        settings.update({_text(key): _text(value) for key, value in reply.items()})
    return settings


async def require_books(redis: Redis) -> None:
    """Refuse a server that may forget what it acknowledged or evict it: books need AOF always and noeviction."""
    needed = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    try:
        found = await config_of(redis, *needed)
    except StoreFailed:
        raise FailedPrecondition(
            Reason.STORE_UNFIT, "the books' settings can't be read: the server refuses CONFIG GET to this user"
        ) from None
    wrong = [f"{name} {found.get(name, 'unknown')}" for name, value in needed.items() if found.get(name) != value]
    if wrong:
        wanted = ", ".join(f"{name} {value}" for name, value in needed.items())
        has = ", ".join(wrong)
        raise FailedPrecondition(Reason.STORE_UNFIT, f"the books must run with {wanted}; this server has {has}")


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
