"""The one way to Redis or Valkey, one server or a cluster: what stores may ask of it, and how they get it.

Replies are as the server gives them in RESP3, text as bytes: what is stored is mostly protobuf, and a decoder would guess.
Nothing is repeated behind the caller's back, because a script that was sent may have run. Commands that block on the server
(BLPOP, WAIT) have no place here: calls share a connection, and those behind would wait too.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

from tenantry.kit.errors import FailedPrecondition, Reason, StoreFailed
from tenantry.kit.redis_cluster import Cluster
from tenantry.kit.redis_link import parse_url, parse_urls
from tenantry.kit.redis_script import Arg, Script
from tenantry.kit.redis_server import Server

__all__ = ["Arg", "Redis", "Script", "config_of", "connect", "require_books"]


class Redis(Protocol):
    """A store's way to its Redis, which is one server (`Server`) or a cluster (`redis_cluster.Cluster`)."""

    async def execute(self, *command: Arg) -> Any:
        """One command, each word an argument: ("CONFIG", "GET", "maxmemory"). In a cluster its first argument says where,
        unless it is one that no key is part of."""
        ...

    async def pipeline(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """Several commands in one trip, not atomic. The first reply that is an error is raised once all have come."""
        ...

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = ()) -> Any:
        """The script's reply. All keys must share one slot."""
        ...

    def scan(self, pattern: str, count: int = 500) -> AsyncGenerator[bytes]:
        """Every key that matches, maybe twice if it moved meanwhile. For clearing up and for tests, not for requests."""
        ...

    async def servers(self) -> Sequence[Server]:
        """Every server there is, replicas too."""
        ...

    async def ping(self) -> None:
        """Return if whoever answers for keys answers; otherwise StoreUnavailable."""
        ...

    @property
    def busy(self) -> int:
        """How many calls are under way, those whose caller has gone included."""
        ...

    async def close(self) -> None:
        """Close the connections; whoever still waits gets StoreUnavailable."""
        ...


def connect(url: str, *, store: str, connections: int = 2) -> Redis:
    """A client of the Redis at `url`: redis://, rediss:// or unix:// for one server; redis+cluster:// or rediss+cluster:// and
    some of its servers, with commas between, for a cluster. No connection is made before the first call."""
    try:
        scheme, plus, rest = url.partition("+cluster")
        if not plus:
            return Server(parse_url(url), store, connections)
        return Cluster(parse_urls(scheme + rest), store, connections)
    except ValueError:  # not shown: an address may hold a password
        kinds = "redis://, rediss://, unix://, redis+cluster:// or rediss+cluster://"
        message = f"the address of {store} is not one; it begins with {kinds}"
        raise FailedPrecondition(Reason.STORE_UNFIT, message) from None


async def config_of(server: Server, *names: str) -> dict[str, str]:
    """The server's settings of these names, as it spells them."""
    settings: dict[str, str] = {}
    for name in names:
        reply = await server.execute("CONFIG", "GET", name)
        settings.update({_text(key): _text(value) for key, value in reply.items()})
    return settings


async def require_books(redis: Redis) -> None:
    """Refuse a server that may forget what it acknowledged or evict it: books need AOF always and noeviction. A cluster's
    replicas too, since each may become a primary."""
    for server in await redis.servers():
        await _require_books(server)


async def _require_books(server: Server) -> None:
    needed = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    try:
        found = await config_of(server, *needed)
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
