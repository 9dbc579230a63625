"""Documents in Weaviate, a tenant a shard, with a ledger in SQL that says what counts: the store for production."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from tenantry.kit.clock import Clock
from tenantry.kit.errors import Aborted, FailedPrecondition, Reason, StoreUnavailable, TenantryError
from tenantry.kit.owner import Tenant
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.fusion import Scores, fuse
from tenantry.retrieval.ledger import CLAIM_S, Ledger, State, Write
from tenantry.retrieval.limits import Limits
from tenantry.retrieval.store import Candidate, Document, Epoch, Found, Key, Query, Vectors
from tenantry.retrieval.under_way import UnderWay
from tenantry.retrieval.weaviate_shards import STORE, WeaviateShards

log = logging.getLogger(__name__)

_WRITE_S = CLAIM_S - 5.0
_WAIT_S = 10.0
_ASK_AGAIN_S = 0.05
_SWEEP_S = 2.0
_SWEEP_MOST = 100


class WeaviateStore:
    """`sweep` is its background work: it tidies up what others left when they were killed."""

    def __init__(self, shards: WeaviateShards, ledger: Ledger, clock: Clock) -> None:
        self._shards = shards
        self._ledger = ledger
        self._clock = clock
        self._under_way = UnderWay()

    async def provision(self, tenant: Tenant) -> bool:
        # Microseconds since 1970: later than any epoch that a tenant of this id had before, if there was one.
        epoch = time.time_ns() // 1000
        state = await self._ledger.begin_making(tenant, epoch)
        if state is State.GOING:  # a deletion was cut off: finish it, then make the tenant anew
            await self.deprovision(tenant)
            state = await self._ledger.begin_making(tenant, epoch)
        if state is State.SERVING:
            return False
        await self._shards.create(tenant)
        if not await self._ledger.end_making(tenant):
            raise Aborted(Reason.HANDLE_LOST, "the tenant is being made or deleted by another; ask again")
        return True

    async def deprovision(self, tenant: Tenant) -> int | None:
        documents = await self._ledger.begin_going(tenant)
        if documents is None:
            return None
        await self._shards.remove(tenant)
        await self._ledger.end_going(tenant)
        return documents

    async def find(self, tenant: Tenant, key: Key) -> Document | None:
        return await self._ledger.find(tenant, key)

    async def put(
        self, tenant: Tenant, document: Document, passages: Sequence[Passage], vectors: Vectors, limits: Limits
    ) -> bool:
        return await self._under_way.finish(self._put(tenant, document, passages, vectors, limits))

    async def _put(
        self, tenant: Tenant, document: Document, passages: Sequence[Passage], vectors: Vectors, limits: Limits
    ) -> bool:
        await self._ledger.check_room(tenant, document, limits)
        generation = secrets.token_hex(8)
        async with self._writing(tenant, document.key) as write:
            await self._shards.add(tenant, document.key, document.title, generation, passages, vectors)
            return await self._ledger.store(write, document, generation, limits)

    async def delete(self, tenant: Tenant, key: Key) -> bool:
        return await self._under_way.finish(self._delete(tenant, key))

    async def _delete(self, tenant: Tenant, key: Key) -> bool:
        if await self._ledger.find(tenant, key) is None:
            return False
        async with self._writing(tenant, key) as write:
            return await self._ledger.drop(write)

    async def list(
        self, tenant: Tenant, collections: tuple[str, ...] | None, after: Key | None, size: int
    ) -> list[Document]:
        return await self._ledger.page(tenant, collections, after, size)

    async def search(self, tenant: Tenant, query: Query) -> Found:
        epoch = await self._ledger.epoch(tenant)
        hits = await self._shards.search(tenant, query)
        counting = await self._ledger.generations(tenant, list({hit.key for hit in hits}))
        counted = [hit for hit in hits if hit.key in counting and hit.generation == counting[hit.key][0]]
        scores = fuse(Scores(hit.bm25, hit.cosine) for hit in counted)
        candidates = [
            Candidate(hit.key, counting[hit.key][1], hit.passage, hit.bm25, hit.cosine, score)
            for hit, score in zip(counted, scores, strict=True)
        ]
        return Found(candidates, epoch.number)

    async def epoch(self, tenant: Tenant) -> Epoch:
        return await self._ledger.epoch(tenant)

    async def close(self) -> None:
        await self._under_way.wait()
        await self._shards.close()

    async def sweep(self) -> None:
        """For ever: tidy up writes whose writers are gone."""
        while True:
            await self._clock.sleep(_SWEEP_S)
            await self.tidy_all()

    async def tidy_all(self) -> int:
        """Tidy up after every write that nobody holds; how many there were."""
        tidied = 0
        for tenant, key in await self._ledger.under_way(_SWEEP_MOST):
            write = Write(tenant, key, secrets.token_hex(8))
            # A tenant that is being deleted, or a store that is away: the next round sees.
            with contextlib.suppress(FailedPrecondition, StoreUnavailable, Aborted):
                if await self._ledger.begin(write):
                    tidied += await self._tidy(write)
        return tidied

    @asynccontextmanager
    async def _writing(self, tenant: Tenant, key: Key) -> AsyncGenerator[Write]:
        """The right to change a document; behind the block the shard is made to hold what counts, whatever happened."""
        write = await self._begin(tenant, key)
        try:
            async with asyncio.timeout(_WRITE_S):
                yield write
        except TimeoutError:
            raise StoreUnavailable(STORE) from None
        finally:
            await self._tidy(write)

    async def _begin(self, tenant: Tenant, key: Key) -> Write:
        write = Write(tenant, key, secrets.token_hex(8))
        end = self._clock.monotonic() + _WAIT_S
        while not await self._ledger.begin(write):
            if self._clock.monotonic() > end:
                raise Aborted(Reason.HANDLE_LOST, "the document is being written by another call; send it again")
            await self._clock.sleep(_ASK_AGAIN_S)
        return write

    async def _tidy(self, write: Write) -> bool:
        """What was stored is stored even if this fails: then the write's row stays, and a sweep does it later."""
        try:
            async with asyncio.timeout(_WRITE_S):
                await self._shards.keep_only(write.tenant, write.key, await self._ledger.counts(write))
                await self._ledger.end(write)
            return True
        except (TenantryError, TimeoutError) as error:
            log.warning("a document's old passages are left for later", extra={"error_type": type(error).__name__})
            with contextlib.suppress(TenantryError):
                await self._ledger.give_up(write)
            return False
