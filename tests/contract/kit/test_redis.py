"""kit.redis against the real servers that it must work with: the wheel's Valkey and, where the machine has it, Redis 7."""

import asyncio
import inspect
import random
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hiredis
import pytest
from redis._parsers.base import BaseParser

from tenantry.kit import redis as kit_redis
from tenantry.kit import redis_faults, redis_server
from tenantry.kit.errors import FailedPrecondition, Reason, StoreFailed, StoreUnavailable
from tenantry.kit.redis import Redis, Script
from tenantry.kit.redis_link import LostConnection, ReplyError, parse_url
from tests.harness import left_out, stores
from tests.harness.poll import until

ECHO = Script("echo", "return {KEYS[1], ARGV[1]}")
COUNT = Script("count", "return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture(scope="module", params=["valkey", "redis"])
def binary(request: pytest.FixtureRequest) -> Path:
    return stores.valkey_binary() if request.param == "valkey" else Path(left_out.require("redis-server"))


@pytest.fixture(scope="module")
def server(binary: Path) -> Iterator[stores.RedisServer]:
    server = stores.RedisServer(stores.BOOKS, binary)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture
async def books(server: stores.RedisServer) -> AsyncIterator[Redis]:
    server.start()
    books = kit_redis.connect(server.url, store="books")
    await books.execute("FLUSHALL")
    yield books
    await books.close()


async def test_replies_are_bytes_and_numbers(books: Redis) -> None:
    await books.execute("SET", "key", b"\xff\x00")
    assert await books.execute("GET", "key") == b"\xff\x00"
    assert await books.execute("GET", "absent") is None
    assert await books.execute("INCR", "number") == 1
    await books.execute("HSET", "hash", "field", "value")
    assert await books.execute("HGETALL", "hash") == {b"field": b"value"}


async def test_a_pipeline_answers_in_order(books: Redis) -> None:
    assert await books.pipeline([("SET", "a", 1), ("INCR", "a"), ("GET", "a")]) == [b"OK", 2, b"2"]


async def test_an_error_in_a_pipeline_is_raised_and_the_rest_is_done(books: Redis) -> None:
    with pytest.raises(StoreFailed):
        await books.pipeline([("SET", "a", 1), ("LPUSH", "a", "x"), ("SET", "b", 2)])
    assert await books.execute("GET", "b") == b"2"


async def test_a_script_the_server_does_not_know_is_sent_once_and_then_called_by_its_hash(books: Redis) -> None:
    await books.execute("SCRIPT", "FLUSH")
    assert await books.run(COUNT, ["n"], [2]) == 2
    assert await books.execute("SCRIPT", "EXISTS", COUNT.sha) == [1]
    assert await books.run(COUNT, ["n"], [3]) == 5
    assert await books.run(ECHO, ["k"], [b"\xff"]) == [b"k", b"\xff"]


def test_a_script_is_read_from_the_package_it_ships_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "scripts_of_a_service"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "take.lua").write_text("return 1")
    monkeypatch.syspath_prepend(tmp_path)
    assert Script.load("scripts_of_a_service", "take") == Script("take", "return 1")


async def test_scan_finds_every_key_of_a_pattern(books: Redis) -> None:
    await books.pipeline([("SET", f"a:{number}", 1) for number in range(1200)] + [("SET", "b", 1)])
    assert len({key async for key in books.scan("a:*")}) == 1200


async def test_calls_cancelled_half_way_leave_no_reply_for_others_and_no_connection_behind(books: Redis) -> None:
    chance = random.Random(4)
    answered = cancelled = 0
    longest_s = 0.0

    async def call(number: int, within_s: float) -> None:
        nonlocal answered, cancelled
        mark = str(number).encode()
        try:
            async with asyncio.timeout(within_s):
                reply = await books.run(ECHO, [f"k{number}"], [mark])
        except (TimeoutError, StoreUnavailable):
            cancelled += 1
            return
        assert reply == [b"k" + mark, mark]
        answered += 1

    for start in range(0, 6000, 40):
        if start % 400 == 0:  # how long forty calls take right now
            began = time.monotonic()
            await asyncio.gather(*(call(number, 10.0) for number in range(40)))
            longest_s = time.monotonic() - began
        limits = [chance.random() * longest_s for _ in range(40)]
        await asyncio.gather(*(call(start + number, limit) for number, limit in enumerate(limits)))
    assert answered > 600 + 300 and cancelled > 300, "the time limits no longer cut calls half-way"
    await until(lambda: books.busy == 0)
    marks = [str(number).encode() for number in range(8)]
    replies = await asyncio.gather(*(books.run(ECHO, ["k"], [mark]) for mark in marks))
    assert [reply[1] for reply in replies] == marks
    clients = (await books.execute("INFO", "clients")).decode()
    assert "connected_clients:2\r\n" in clients


async def test_a_cancelled_command_is_still_carried_out(books: Redis) -> None:
    task = asyncio.create_task(books.run(COUNT, ["n"], [1]))
    await until(lambda: books.busy == 1, every_s=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: books.busy == 0)
    assert await books.execute("GET", "n") == b"1"


async def test_more_calls_than_a_connection_may_have_under_way_are_refused_at_once(
    server: stores.RedisServer, books: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "MOST_DUE", 3)
    narrow = kit_redis.connect(server.url, store="books", connections=1)
    await narrow.ping()
    slow = [asyncio.create_task(narrow.execute("BLPOP", "nothing", 0.3)) for _ in range(3)]
    await until(lambda: narrow.busy == 3, every_s=0)
    with pytest.raises(StoreUnavailable):
        await narrow.execute("PING")
    assert await asyncio.gather(*slow) == [None] * 3
    await narrow.ping()
    await narrow.close()


async def test_a_server_that_does_not_answer_is_unavailable_after_a_limited_time(
    server: stores.RedisServer, books: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_server, "ANSWER_S", 0.2)
    waiting = kit_redis.connect(server.url, store="books", connections=1)
    answers = await asyncio.gather(
        waiting.execute("BLPOP", "nothing", 0.8), waiting.execute("GET", "a"), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    await waiting.ping()
    await waiting.close()


async def test_large_values_go_both_ways_while_others_are_served(books: Redis) -> None:
    large = random.Random(4).randbytes(4_000_000)
    marks = [str(number).encode() for number in range(200)]
    _, *replies = await asyncio.gather(
        books.execute("SET", "large", large), *(books.run(ECHO, ["k"], [mark]) for mark in marks)
    )
    assert [reply[1] for reply in replies] == marks
    assert await books.execute("GET", "large") == large


async def test_a_password_and_a_database_of_the_url_are_used(server: stores.RedisServer, books: Redis) -> None:
    await books.execute("CONFIG", "SET", "requirepass", "opensesame")
    address = server.url.removeprefix("redis://").removesuffix("/0")
    try:
        known = kit_redis.connect(f"redis://:opensesame@{address}/3", store="books")
        await known.execute("SET", "where", "three")
        assert (await known.execute("CLIENT", "INFO")).count(b" db=3 ") == 1
        await known.close()
        wrong = kit_redis.connect(f"redis://:guess@{address}/0", store="books")
        with pytest.raises(StoreFailed) as refused:
            await wrong.ping()
        assert "guess" not in str(refused.value)
        await wrong.close()
    finally:
        await books.execute("CONFIG", "SET", "requirepass", "")


async def test_a_reply_that_is_no_reply_breaks_the_connection_off() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as babbler:
        port = babbler.sockets[0].getsockname()[1]
        puzzled = kit_redis.connect(f"redis://127.0.0.1:{port}/0", store="books")
        with pytest.raises(StoreUnavailable):
            await puzzled.ping()
        await puzzled.close()


async def test_a_server_that_stops_and_starts_is_unavailable_only_meanwhile(
    server: stores.RedisServer, books: Redis
) -> None:
    await books.pipeline([("SET", "kept", "1")])
    server.kill()
    with pytest.raises(StoreUnavailable) as away:
        await books.execute("GET", "kept")
    assert away.value.transient and away.value.metadata == {"store": "books"}
    server.start()
    assert await books.execute("GET", "kept") == b"1"


async def test_a_server_that_goes_under_load_fails_calls_and_loses_nothing_acknowledged(
    server: stores.RedisServer, books: Redis
) -> None:
    acknowledged: set[str] = set()
    failed = 0

    async def write(worker: int) -> None:
        nonlocal failed
        for number in range(400):
            key = f"w{worker}:{number}"
            try:
                await books.execute("SET", key, "1")
                acknowledged.add(key)
            except StoreUnavailable:
                failed += 1
                await asyncio.sleep(0.005)

    writing = asyncio.gather(*(write(worker) for worker in range(6)))
    await until(lambda: len(acknowledged) > 200)
    server.kill()
    await asyncio.to_thread(server.start)
    await writing
    assert failed > 0
    assert {key.decode() async for key in books.scan("w*")} >= acknowledged


async def test_a_refused_command_names_its_code_and_never_what_was_sent(books: Redis) -> None:
    await books.execute("SET", "a", "1")
    with pytest.raises(StoreFailed) as refused:
        await books.execute("LPUSH", "a", "CANARY")
    assert refused.value.message == "books: the server replied WRONGTYPE"
    with pytest.raises(StoreFailed) as refused:
        await books.execute("NOSUCH", "CANARY")
    assert "CANARY" not in str(refused.value)
    assert refused.value.__suppress_context__, "a traceback would print the server's words"


async def test_full_books_are_unavailable_not_a_fault_of_ours(books: Redis) -> None:
    await books.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreUnavailable):
            await books.execute("SET", "a", "1")
    finally:
        await books.execute("CONFIG", "SET", "maxmemory", "256mb")


async def test_books_that_keep_everything_are_accepted(books: Redis) -> None:
    await kit_redis.require_books(books)


@pytest.mark.parametrize(
    ("setting", "value", "right"),
    [
        ("appendonly", "no", "yes"),
        ("appendfsync", "everysec", "always"),
        ("maxmemory-policy", "allkeys-lru", "noeviction"),
    ],
)
async def test_books_that_may_forget_are_refused_in_one_sentence(
    books: Redis, setting: str, value: str, right: str
) -> None:
    await books.execute("CONFIG", "SET", setting, value)
    try:
        with pytest.raises(FailedPrecondition) as refused:
            await kit_redis.require_books(books)
    finally:
        await books.execute("CONFIG", "SET", setting, right)
    assert refused.value.reason == Reason.STORE_UNFIT
    assert refused.value.message.endswith(f"this server has {setting} {value}")


async def test_books_whose_settings_can_not_be_read_are_refused(server: stores.RedisServer, books: Redis) -> None:
    await books.execute("ACL", "SETUSER", "limited", "on", ">pass", "~*", "+@all", "-config")
    limited = kit_redis.connect(server.url.replace("redis://", "redis://limited:pass@"), store="books")
    await limited.ping()
    with pytest.raises(FailedPrecondition):
        await kit_redis.require_books(limited)
    await limited.close()
    await books.execute("ACL", "DELUSER", "limited")


def test_every_exception_of_the_parser_is_mapped() -> None:
    classes = {value for _, value in inspect.getmembers(hiredis, inspect.isclass) if issubclass(value, Exception)}
    assert classes <= set(redis_faults.TRANSIENT)


def test_every_error_reply_that_redis_py_knows_is_mapped() -> None:
    assert set(BaseParser.EXCEPTION_CLASSES) <= set(redis_faults.TRANSIENT_CODES)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (LostConnection(), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (ConnectionResetError("x"), StoreUnavailable),
        (ReplyError("LOADING the dataset"), StoreUnavailable),
        (ReplyError("MISCONF can't write"), StoreUnavailable),
        (ReplyError("ERR max number of clients reached"), StoreUnavailable),
        (ReplyError("WRONGPASS x"), StoreFailed),
        (ReplyError("ERR x"), StoreFailed),
        (ReplyError("SOMETHINGNEW x"), StoreFailed),
        (ReplyError(""), StoreFailed),
        (ValueError("x"), StoreFailed),
    ],
)
def test_what_may_pass_is_unavailable_and_what_would_repeat_is_a_fault(error: Exception, expected: type) -> None:
    assert type(redis_faults.translate(error, "books")) is expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", ("h", 6379, "", "default", "", 0)),
        ("redis://:p%40ss@h:1/2", ("h", 1, "", "default", "p@ss", 2)),
        ("redis://me:pass@[::1]:7/", ("::1", 7, "", "me", "pass", 0)),
        ("unix:///run/redis.sock?db=3", ("localhost", 6379, "/run/redis.sock", "default", "", 3)),
    ],
)
def test_a_url_tells_where_and_who(url: str, expected: tuple[str, int, str, str, str, int]) -> None:
    target = parse_url(url)
    found = (target.host, target.port, target.path, target.user, target.password, target.database)
    assert (found, target.tls) == (expected, None)


def test_a_url_with_tls_checks_the_servers_certificate() -> None:
    tls = parse_url("rediss://h").tls
    assert tls is not None and tls.check_hostname


def test_a_url_of_another_kind_is_refused_without_repeating_it() -> None:
    with pytest.raises(ValueError) as refused:
        parse_url("http://user:CANARY@h")
    assert "CANARY" not in str(refused.value)


async def test_a_unix_socket_works_like_a_port(binary: Path, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    server = stores.RedisServer((*stores.CACHE, "--unixsocket", str(socket)), binary)
    try:
        server.start()
        local = kit_redis.connect(f"unix://{socket}", store="cache")
        await local.execute("SET", "a", "1")
        assert await local.execute("GET", "a") == b"1"
        await local.close()
    finally:
        server.remove()
