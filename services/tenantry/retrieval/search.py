"""Finding the passages of a tenant's documents that fit a question best."""

from tenantry.kit.errors import InvalidArgument
from tenantry.kit.ids import check_name
from tenantry.kit.owner import Tenant
from tenantry.retrieval.allowed import Allowed
from tenantry.retrieval.embedder import Embedder
from tenantry.retrieval.query import terms_of
from tenantry.retrieval.store import Candidate, DocumentStore, Epoch, Query

MAX_QUERY_BYTES = 8 * 1024
MAX_COLLECTIONS = 64
MAX_LIMIT = 50
USUAL_LIMIT = 8
# Candidates from each of the two searches: twice as many changed no figure in fusion.py by more than .001.
DEPTH = 50


class Search:
    """Searches one tenant's documents at a time."""

    def __init__(self, store: DocumentStore, embedder: Embedder) -> None:
        self._store = store
        self._embedder = embedder
        # By whose vectors passages are searched.
        self.embedder = embedder.name

    async def passages(
        self, tenant: Tenant, allowed: Allowed, text: str, collections: tuple[str, ...], limit: int
    ) -> tuple[list[Candidate], int]:
        """The best passages first, and the epoch of what was searched."""
        check_query(text)
        if not 0 <= limit <= MAX_LIMIT:
            raise InvalidArgument("limit", f"is not within 0 and {MAX_LIMIT}")
        if len(collections) > MAX_COLLECTIONS:
            raise InvalidArgument("collections", f"are more than {MAX_COLLECTIONS}")
        for place, collection in enumerate(collections):
            check_name(collection, f"collections[{place}]")
        chosen = allowed.choose(collections)
        vector = (await self._embedder.embed([text]))[0]
        wanted = limit or USUAL_LIMIT
        found = await self._store.search(tenant, Query(terms_of(text), vector, chosen, DEPTH, wanted))
        return rank(found.candidates)[:wanted], found.epoch

    async def epoch(self, tenant: Tenant) -> Epoch:
        """The epoch of the tenant's documents now."""
        return await self._store.epoch(tenant)


def rank(candidates: list[Candidate]) -> list[Candidate]:
    """Best first; equals in the order of their place, so that the same question gets the same answer."""
    return sorted(candidates, key=_order)


def check_query(text: str) -> None:
    """Refuse a query that is empty or too long."""
    if not text.strip():
        raise InvalidArgument("query", "is empty")
    if len(text.encode()) > MAX_QUERY_BYTES:
        raise InvalidArgument("query", f"is longer than {MAX_QUERY_BYTES} bytes")


def _order(candidate: Candidate) -> tuple[float, str, str, int]:
    return -candidate.score, candidate.key.collection, candidate.key.document, candidate.passage.ordinal
