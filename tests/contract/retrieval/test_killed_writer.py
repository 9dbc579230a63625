"""A process that writes documents is killed: what it had acknowledged is there, and nothing is half done."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tenantry.kit.owner import Tenant
from tenantry.retrieval.store import DocumentStore, Key, Query
from tests.contract.retrieval.opened import PASSAGES, Open, axis
from tests.harness.poll import until

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("after", [1, 7])
async def test_what_was_acknowledged_is_there_and_whole(
    kind: str, addresses: list[str], open_store: Open, new_tenant: Callable[[], Tenant], tmp_path: Path, after: int
) -> None:
    tenant = new_tenant()
    await (await open_store()).provision(tenant)
    acknowledged = await _write_until_killed(kind, tmp_path, tenant, addresses, after)
    assert sum(acknowledged.values()) >= after

    store = await open_store()
    await _tidied(store, tenant)
    documents = {one.key.document: one.passages for one in await store.list(tenant, None, None, 10)}
    assert documents.keys() >= acknowledged.keys()
    found = (await store.search(tenant, Query(("version",), axis(1), None, 500))).candidates
    for document, passages in documents.items():
        versions = [int(c.passage.text.split()[1]) for c in found if c.key.document == document]
        assert len(versions) == passages == PASSAGES and len(set(versions)) == 1
        assert versions[0] >= acknowledged.get(document, 1)
    for document in documents:
        assert await store.delete(tenant, Key("default", document))
    assert not (await store.search(tenant, Query(("version",), axis(1), None, 500))).candidates
    await store.deprovision(tenant)


async def _write_until_killed(
    kind: str, directory: Path, tenant: Tenant, addresses: list[str], after: int
) -> dict[str, int]:
    """The versions that were acknowledged before the process was killed, which is soon after so many of them."""
    program = ["-m", "tests.contract.retrieval.opened", kind, str(directory), tenant.id, *addresses]
    path = os.pathsep.join([str(ROOT), *(entry for entry in sys.path if entry)])
    process = await asyncio.create_subprocess_exec(
        sys.executable, *program, stdout=asyncio.subprocess.PIPE, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}
    )
    acknowledged: dict[str, int] = {}
    assert process.stdout is not None
    try:
        for _ in range(after):
            document, version = (await process.stdout.readline()).split()
            acknowledged[document.decode()] = int(version)
        await asyncio.sleep(0.003 * after)  # somewhere within the next write
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
    whole, _, _ = (await process.stdout.read()).rpartition(b"\n")  # the last line may be cut off
    for line in whole.splitlines():
        document, version = line.split()
        acknowledged[document.decode()] = int(version)
    await process.wait()
    return acknowledged


async def _tidied(store: DocumentStore, tenant: Tenant) -> None:
    """Until the epoch no longer says that documents are changing, as a sweep makes it."""

    async def unchanging() -> bool:
        if not (await store.epoch(tenant)).changing:
            return True
        await store.tidy_all()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
        return False

    await until(unchanging, within_s=40.0, every_s=0.5)
