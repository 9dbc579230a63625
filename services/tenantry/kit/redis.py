"""The one way to Redis or Valkey: a bounded pool whose calls survive their caller's cancellation, and scripts by their hash.

A call that is cancelled between its command and the reply would leave the reply in the connection for whoever borrows it next.
So a task of its own owns the connection until the reply is read, and the caller only waits for that task. Replies are bytes:
what is stored is mostly protobuf, and a decoder would guess. Nothing is repeated behind the caller's back, because a script
that was sent may have run. Commands that block on the server have no place here: they would hold a connection of the pool.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import redis.asyncio as client
import redis.exceptions as driver
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from tenantry.kit.errors import FailedPrecondition, Reason, StoreFailed, StoreUnavailable, TenantryError

Arg = str | bytes | int | float

# How long a call may wait for a free connection, and for the server's answer.
WAIT_S = 1.0
ANSWER_S = 5.0

# Every exception of redis-py, and whether the same call may succeed later. A test fails on one that is missing here.
TRANSIENT: dict[type[BaseException], bool] = {
    driver.RedisError: False,
    driver.ConnectionError: True,
    driver.TimeoutError: True,
    driver.AuthenticationError: False,
    driver.AuthorizationError: False,
    driver.BusyLoadingError: True,
    driver.InvalidResponse: False,
    driver.ResponseError: False,
    driver.DataError: False,
    driver.PubSubError: False,
    driver.WatchError: True,
    driver.NoScriptError: False,
    driver.OutOfMemoryError: True,
    driver.ExecAbortError: False,
    driver.ReadOnlyError: True,
    driver.NoPermissionError: False,
    driver.ModuleError: False,
    driver.NoSuchFieldsetError: False,
    driver.LockError: False,
    driver.LockNotOwnedError: False,
    driver.ChildDeadlockedError: False,
    driver.AuthenticationWrongNumberOfArgsError: False,
    driver.RedisClusterException: True,
    driver.ClusterError: True,
    driver.ClusterDownError: True,
    driver.AskError: True,
    driver.TryAgainError: True,
    driver.ClusterCrossSlotError: False,
    driver.MovedError: True,
    driver.MasterDownError: True,
    driver.SlotNotCoveredError: True,
    driver.MaxConnectionsError: True,
    driver.CrossSlotTransactionError: False,
    driver.InvalidPipelineStack: False,
    driver.ExternalAuthProviderError: True,
    driver.IncorrectPolicyType: False,
}

# Replies that redis-py has no class for: the server can't write its AOF, is busy with a script, lacks replicas, is blocked.
_TRANSIENT_CODES = frozenset({"MISCONF", "BUSY", "NOREPLICAS", "UNBLOCKED", "FAILOVER"})


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
    """A store's connection to one Redis. `store` is our name for it in errors: `books` or `cache`."""

    def __init__(self, driver_client: client.Redis, store: str, max_connections: int) -> None:
        self._client: Any = driver_client  # its commands are untyped
        self._store = store
        # One permit a connection: a call takes its permit while it may still be cancelled for free, and its task, which
        # can't be, gives it back. So there are never more tasks than connections, and the pool never has to wait.
        self._permits = asyncio.Semaphore(max_connections)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def execute(self, *command: Arg) -> Any:
        """One command. The reply is as redis-py gives it: bytes, int, float, None, or a list, set or dict of these."""
        return await self._shielded(self._client.execute_command(*command))

    async def pipeline(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        """Several commands in one trip, not atomic. The first reply that is an error is raised once all were read."""
        return await self._shielded(self._in_one_trip(commands))

    async def run(self, script: Script, keys: Sequence[str], args: Sequence[Arg] = ()) -> Any:
        """The script's reply. All keys must share one slot."""
        return await self._shielded(self._by_hash(script, keys, args))

    async def scan(self, pattern: str, count: int = 500) -> AsyncIterator[bytes]:
        """Every key that matches, maybe twice if it moved meanwhile. For clearing up and for tests, not for requests."""
        cursor = 0
        while True:
            cursor, found = await self.execute("SCAN", cursor, "MATCH", pattern, "COUNT", count)
            for key in found:
                yield key
            if int(cursor) == 0:
                return

    async def ping(self) -> None:
        """Return if the server answers; otherwise StoreUnavailable."""
        await self.execute("PING")

    @property
    def busy(self) -> int:
        """How many calls are under way, those whose caller has gone included."""
        return len(self._tasks)

    async def close(self) -> None:
        """Wait for the replies that are still due, then close the connections."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=ANSWER_S)
        await self._client.aclose()

    async def _shielded(self, call: Coroutine[Any, Any, Any]) -> Any:
        try:
            async with asyncio.timeout(WAIT_S):
                await self._permits.acquire()
        except TimeoutError:
            call.close()
            raise StoreUnavailable(self._store) from None
        except BaseException:
            call.close()
            raise
        task = asyncio.create_task(call)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except Exception as error:
            raise translate(error, self._store) from None

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._permits.release()
        if not task.cancelled():
            task.exception()  # a caller that has gone can't fetch it; asyncio would log it as never retrieved

    async def _by_hash(self, script: Script, keys: Sequence[str], args: Sequence[Arg]) -> Any:
        try:
            return await self._client.execute_command("EVALSHA", script.sha, len(keys), *keys, *args)
        except driver.NoScriptError:  # it did not run, so sending it in full is no repetition
            return await self._client.execute_command("EVAL", script.text, len(keys), *keys, *args)

    async def _in_one_trip(self, commands: Sequence[Sequence[Arg]]) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies


def connect(url: str, *, store: str, max_connections: int = 32) -> Redis:
    """A client of the Redis at `url` (redis://, rediss:// or unix://). No connection is made before the first call."""
    options: dict[str, Any] = {
        "protocol": 2,  # the same replies from every server, and no pushed messages between them
        "decode_responses": False,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": ANSWER_S,
        "socket_connect_timeout": WAIT_S,
        "driver_info": None,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    pool: Any = client.BlockingConnectionPool
    pool = pool.from_url(url, max_connections=max_connections, timeout=WAIT_S, **options)
    return Redis(client.Redis.from_pool(pool), store, max_connections)


def translate(error: Exception, store: str) -> TenantryError:
    """The one mapping from the driver's exceptions. The server's words stay out: they may quote keys and arguments."""
    if isinstance(error, TenantryError):
        return error
    code = _code(error)
    if isinstance(error, OSError) or code in _TRANSIENT_CODES or _is_transient(type(error)):
        return StoreUnavailable(store)
    return StoreFailed(f"{store}: {type(error).__name__} {code}".rstrip())


def _is_transient(kind: type[BaseException]) -> bool:
    return next((TRANSIENT[ancestor] for ancestor in kind.__mro__ if ancestor in TRANSIENT), False)


def _code(error: Exception) -> str:
    """The reply's first word when it is a code such as WRONGTYPE, and "" when it is anything else."""
    code = getattr(error, "status_code", None) or str(error).partition(" ")[0]
    return code if code.isalpha() and code.isupper() else ""


async def config_of(redis: Redis, *names: str) -> dict[str, str]:
    """The server's settings of these names, as it spells them."""
    settings: dict[str, str] = {}
    for name in names:
        reply = await redis.execute("CONFIG GET", name)
        settings.update({_text(key): _text(value) for key, value in reply.items()})
    return settings


async def require_books(redis: Redis) -> None:
    """Refuse a server that may forget what it acknowledged or evict it: books need AOF always and noeviction."""
    needed = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    found = await config_of(redis, *needed)
    wrong = [f"{name} {found.get(name, 'unknown')}" for name, value in needed.items() if found.get(name) != value]
    if wrong:
        wanted = ", ".join(f"{name} {value}" for name, value in needed.items())
        has = ", ".join(wrong)
        raise FailedPrecondition(Reason.STORE_UNFIT, f"the books must run with {wanted}; this server has {has}")


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
