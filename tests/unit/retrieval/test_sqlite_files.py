"""What is special about the store of one SQLite file a tenant."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncGenerator
from pathlib import Path

import numpy
import pytest

from tenantry.kit.errors import FailedPrecondition, InvalidArgument, Reason, StoreUnavailable
from tenantry.kit.owner import Tenant
from tenantry.retrieval import tenant_file
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.limits import Limits
from tenantry.retrieval.open_files import OpenFiles
from tenantry.retrieval.store import Document, Key, Query
from tenantry.retrieval.store_sqlite import SqliteStore
from tenantry.retrieval.tenant_search import Matrix, VectorMemory

ACME = Tenant("acme-org", "acme")
EAST = numpy.eye(8, dtype=numpy.float32)[:1]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncGenerator[SqliteStore]:
    store = SqliteStore(tmp_path, "test-8", open_files=3)
    yield store
    await store.close()


async def put(store: SqliteStore, tenant: Tenant, document: str, text: str) -> None:
    described = Document(Key("default", document), "", len(text), 1, b"f", 1)
    await store.put(tenant, described, [Passage(0, "", text)], EAST, Limits())


async def words(store: SqliteStore, tenant: Tenant, *words: str) -> list[str]:
    found = await store.search(tenant, Query(words, EAST[0], None, 10))
    return sorted(candidate.passage.text for candidate in found.candidates if candidate.bm25 > 0)


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_a_tenant_has_one_file_that_only_we_may_read_and_none_when_it_is_gone(
    store: SqliteStore, tmp_path: Path
) -> None:
    await store.provision(ACME)
    assert files(tmp_path) == ["acme.db"] or files(tmp_path) == ["acme.db", "acme.db-shm", "acme.db-wal"]
    assert (tmp_path / "acme.db").stat().st_mode & 0o777 == 0o600
    await put(store, ACME, "a", "holiday")
    assert all(name.startswith("acme.db") for name in files(tmp_path))
    await store.deprovision(ACME)
    assert files(tmp_path) == []


async def test_what_a_deletion_that_was_cut_off_left_does_not_come_back(store: SqliteStore, tmp_path: Path) -> None:
    await store.provision(ACME)
    await put(store, ACME, "a", "holiday")
    (tmp_path / "acme.db").unlink()  # as a process does that is killed right then
    assert await store.deprovision(ACME) is None
    assert await store.provision(ACME) is True
    assert await words(store, ACME, "holiday") == []


async def test_a_file_of_a_newer_version_is_refused(store: SqliteStore, tmp_path: Path) -> None:
    await store.provision(ACME)
    with sqlite3.connect(tmp_path / "acme.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(FailedPrecondition) as refused:
        await store.find(ACME, Key("default", "a"))
    assert refused.value.reason is Reason.STORE_UNFIT


async def test_an_id_of_another_form_is_no_file(store: SqliteStore, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    for id in ("../acme", "x/y", "", "a.b", ".acme", "A"):
        for call in (store.provision, store.deprovision, store.epoch):
            with pytest.raises(InvalidArgument):
                await call(Tenant("acme-org", id))
    assert files(tmp_path) == ["x"]


async def test_open_files_are_bounded_and_none_in_use_is_closed(store: SqliteStore, tmp_path: Path) -> None:
    tenants = [Tenant("o", f"t{number}") for number in range(12)]
    for tenant in tenants:
        await store.provision(tenant)
    await asyncio.gather(*(put(store, tenant, "a", f"mark{tenant.id}") for tenant in tenants * 3))
    found = await asyncio.gather(*(words(store, tenant, f"mark{tenant.id}") for tenant in tenants * 3))
    assert found == [[f"mark{tenant.id}"] for tenant in tenants * 3]
    opened = [_target(fd) for fd in Path("/proc/self/fd").iterdir()]
    assert len({path.split(".db")[0] for path in opened if str(tmp_path) in path}) <= 3


def _target(descriptor: Path) -> str:
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:  # it is the one by which the folder was read
        return ""


async def test_a_flood_of_one_tenants_searches_takes_no_place_from_another(store: SqliteStore) -> None:
    other = Tenant("globex-org", "globex")
    for tenant in (ACME, other):
        await store.provision(tenant)
    async with store._files.use(ACME, writes=False):
        flood = [asyncio.create_task(words(store, ACME, "holiday")) for _ in range(20)]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            assert (await store.epoch(other)).number > 0 and await words(store, other, "holiday") == []
        assert not any(task.done() for task in flood)
    assert await asyncio.gather(*flood) == [[]] * 20


async def test_a_long_write_of_one_tenant_holds_up_nobody_who_searches(store: SqliteStore, tmp_path: Path) -> None:
    await store.provision(ACME)
    await put(store, ACME, "a", "holiday")
    blocker = tenant_file.connect(tmp_path / "acme.db", writes=True)
    with tenant_file.transaction(blocker, writes=True):
        waiting = asyncio.create_task(put(store, ACME, "b", "travel"))
        for _ in range(20):
            assert await asyncio.wait_for(words(store, ACME, "holiday"), 2) == ["holiday"]
        assert not waiting.done()
    await waiting
    blocker.close()
    assert await words(store, ACME, "travel") == ["travel"]


async def test_a_writer_that_waits_too_long_is_told_so(
    store: SqliteStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tenant_file, "WAIT_S", 0.05)
    await store.provision(ACME)
    blocker = tenant_file.connect(tmp_path / "acme.db", writes=True)
    with tenant_file.transaction(blocker, writes=True), pytest.raises(StoreUnavailable):
        await put(store, ACME, "a", "holiday")
    blocker.close()


async def test_two_who_make_a_tenant_at_once_make_one_file(tmp_path: Path) -> None:
    made: list[bool] = []
    starting = threading.Barrier(4)

    def make() -> None:
        starting.wait()
        made.append(tenant_file.make(tmp_path / "acme.db", ACME, 1))

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, False, False, True]
    assert [name for name in files(tmp_path) if name.startswith(".")] == []


async def test_vectors_of_another_embedder_are_left_out(store: SqliteStore, tmp_path: Path) -> None:
    await store.provision(ACME)
    await put(store, ACME, "a", "holiday")
    newer = SqliteStore(tmp_path, "other-4", open_files=3)
    found = await newer.search(ACME, Query(("holiday",), numpy.full(4, 0.5, numpy.float32), None, 10))
    assert [(c.passage.text, c.bm25 > 0, c.cosine) for c in found.candidates] == [("holiday", True, 0.0)]
    await newer.close()


async def test_a_tenant_with_more_vectors_than_are_remembered_is_searched_all_the_same(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, "test-8", vector_bytes=100)
    await store.provision(ACME)
    for number in range(5):
        await put(store, ACME, f"d{number}", f"word{number}")
    found = await store.search(ACME, Query((), EAST[0], None, 3))
    assert len(found.candidates) == 3 and all(c.cosine == pytest.approx(1.0) for c in found.candidates)
    await store.close()


def test_remembered_vectors_are_bounded_and_of_one_epoch() -> None:
    memory = VectorMemory(2 * (10 * 8 * 4 + 10 * 8))
    matrix = Matrix(numpy.arange(10, dtype=numpy.int64), numpy.ones((10, 8), numpy.float32))
    for tenant in ("a", "b"):
        memory.keep(tenant, 1, matrix)
    assert memory.get("a", 1) is matrix and memory.get("a", 2) is None
    memory.keep("c", 1, matrix)
    assert memory.get("b", 1) is None and memory.get("a", 1) is matrix and memory.get("c", 1) is matrix
    memory.keep("a", 2, matrix)
    assert memory.get("a", 1) is None and memory.get("c", 1) is matrix
    memory.forget("a")
    assert memory.get("a", 2) is None
    assert memory.fits(20, 8) and not memory.fits(21, 8)


async def test_closing_waits_for_what_is_under_way(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, "test-8")
    await store.provision(ACME)
    task = asyncio.create_task(put(store, ACME, "a", "holiday"))
    await asyncio.sleep(0)
    task.cancel()
    await store.close()
    again = SqliteStore(tmp_path, "test-8")
    assert await words(again, ACME, "holiday") in ([], ["holiday"])
    await again.close()


def test_files_are_where_their_tenants_name_says(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:
        open_files = OpenFiles(tmp_path, 1, threads)
        assert open_files.path(ACME) == tmp_path / "acme.db"


async def test_vectors_of_an_earlier_embedder_are_left_out_also_when_they_are_too_many_to_remember(
    tmp_path: Path,
) -> None:
    earlier = SqliteStore(tmp_path, "earlier-8")
    await earlier.provision(ACME)
    await put(earlier, ACME, "one", "the refund period")
    await earlier.close()
    store = SqliteStore(tmp_path, "test-8", vector_bytes=0)
    assert await words(store, ACME, "refund") == ["the refund period"]
    await store.close()
