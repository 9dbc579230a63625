"""Passages in Weaviate: one multi-tenant collection, a tenant a shard, no shard made but by `create`.

The only module that knows weaviate-client, imported when Weaviate is configured. The client repeats an UNAVAILABLE call for
more than a minute by itself, so each call has a deadline here. Its exceptions are mapped once, and their words stay out.
"""

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
from grpc import StatusCode
from grpc.aio import AioRpcError
from weaviate import WeaviateAsyncClient, exceptions
from weaviate.classes.config import Configure, DataType, Property, StopwordsPreset, Tokenization, VectorDistances
from weaviate.classes.data import DataObject
from weaviate.classes.init import AdditionalConfig, Auth, GrpcConfig, Timeout
from weaviate.classes.query import Filter, MetadataQuery
from weaviate.classes.tenants import Tenant as Shard
from weaviate.collections.classes.filters import _Filters  # pyright: ignore[reportPrivateUsage]
from weaviate.connect import ConnectionParams

from tenantry.kit.errors import FailedPrecondition, Reason, StoreFailed, StoreUnavailable, TenantryError
from tenantry.kit.network import RECONNECT_OPTIONS
from tenantry.kit.owner import Tenant
from tenantry.retrieval.chunking import Passage
from tenantry.retrieval.store import Key, Query, Vectors

R = TypeVar("R")

STORE = "weaviate"
# The client logs the words of what it repeats, which may quote what was sent.
logging.getLogger("weaviate-client").setLevel(logging.CRITICAL)
SCHEMA_VERSION = 1
READ_S = 3.0
WRITE_S = 10.0
_AT_ONCE = 200
_SEARCHED = ["title", "heading", "text"]
_READ = ["collection", "document", "generation", "ordinal", "heading", "text"]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage as the shard has it, of whichever generation."""

    key: Key
    generation: str
    passage: Passage
    bm25: float
    cosine: float


class WeaviateShards:
    """One collection for each embedder, since vectors of two don't compare."""

    def __init__(self, url: str, grpc_address: str, api_key: str, embedder: str) -> None:
        self._parameters = _parameters(url, grpc_address)
        self._auth = Auth.api_key(api_key) if api_key else None
        self._name = "TenantryPassages_" + embedder.replace("-", "_")
        self._about = f"Tenantry's passages, schema {SCHEMA_VERSION}, embedder {embedder}"
        self._connecting = asyncio.Lock()
        self._client: WeaviateAsyncClient | None = None

    async def create(self, tenant: Tenant) -> None:
        """Make the tenant's shard, if there is none."""
        collection = await self._collection()
        await _within(WRITE_S, collection.tenants.create([Shard(name=tenant.id)]))

    async def remove(self, tenant: Tenant) -> None:
        """Delete the tenant's shard and all in it, if there is one."""
        collection = await self._collection()
        await _within(WRITE_S, collection.tenants.remove([tenant.id]))

    async def exists(self, tenant: Tenant) -> bool:
        """Whether there is a shard."""
        collection = await self._collection()
        return bool(await _within(READ_S, collection.tenants.exists(tenant.id)))

    async def add(
        self, tenant: Tenant, key: Key, title: str, generation: str, passages: Sequence[Passage], vectors: Vectors
    ) -> None:
        """Write the passages of a generation of a document; again does no harm, since the ids are the same."""
        shard = (await self._collection()).with_tenant(tenant.id)
        for start in range(0, len(passages), _AT_ONCE):
            objects = [
                DataObject(
                    properties={
                        "key": _hash(key),
                        "collection": key.collection,
                        "document": key.document,
                        "generation": generation,
                        "ordinal": passage.ordinal,
                        "title": title,
                        "heading": passage.heading,
                        "text": passage.text,
                    },
                    uuid=passage_id(key, generation, passage.ordinal),
                    vector=vector.tolist() if vector.any() else None,
                )
                for passage, vector in zip(
                    passages[start : start + _AT_ONCE], vectors[start : start + _AT_ONCE], strict=True
                )
            ]
            done = await _within(WRITE_S, shard.data.insert_many(objects))
            if done.has_errors:
                raise StoreFailed(f"{STORE}: {len(done.errors)} of {len(objects)} passages were refused")

    async def keep_only(self, tenant: Tenant, key: Key, generation: str) -> None:
        """Delete a document's passages of all generations but this one; "" deletes all."""
        shard = (await self._collection()).with_tenant(tenant.id)
        of_document = Filter.by_property("key").equal(_hash(key))
        others = of_document & Filter.by_property("generation").not_equal(generation) if generation else of_document
        # Weaviate deletes up to a maximum of its own configuration at a time, and says how many there were.
        while True:
            done = await _within(WRITE_S, shard.data.delete_many(others))
            if done.failed:
                raise StoreFailed(f"{STORE}: {done.failed} passages could not be deleted")
            if done.matches <= done.successful:
                return

    async def count(self, tenant: Tenant) -> int:
        """Passages in the shard, of all generations."""
        shard = (await self._collection()).with_tenant(tenant.id)
        counted = await _within(READ_S, shard.aggregate.over_all(total_count=True))
        return int(counted.total_count or 0)

    async def search(self, tenant: Tenant, query: Query) -> list[Hit]:
        """The best passages by words, and the nearest ones, each with both scores."""
        shard = (await self._collection()).with_tenant(tenant.id)
        within = (
            None
            if query.collections is None
            else Filter.by_property("collection").contains_any(list(query.collections))
        )
        nearest, by_words = await _within(
            READ_S, asyncio.gather(self._nearest(shard, query, within), self._by_words(shard, query, within))
        )
        hits = {hit.uuid: _hit(hit, 0.0, 1.0 - float(hit.metadata.distance or 0.0)) for hit in nearest}
        for hit in by_words:
            cosine = hits[hit.uuid].cosine if hit.uuid in hits else _cosine(hit.vector.get("default"), query.vector)
            hits[hit.uuid] = _hit(hit, float(hit.metadata.score or 0.0), cosine)
        return list(hits.values())

    async def _nearest(self, shard: Any, query: Query, within: "_Filters | None") -> Sequence[Any]:
        if not query.vector.any():
            return ()
        found = await shard.query.near_vector(
            near_vector=query.vector.tolist(),
            limit=query.depth,
            filters=within,
            return_metadata=MetadataQuery(distance=True),
            return_properties=_READ,
        )
        return found.objects

    async def _by_words(self, shard: Any, query: Query, within: "_Filters | None") -> Sequence[Any]:
        if not query.words:
            return ()
        found = await shard.query.bm25(
            query=" ".join(query.words),
            query_properties=_SEARCHED,
            limit=query.depth,
            filters=within,
            include_vector=True,
            return_metadata=MetadataQuery(score=True),
            return_properties=_READ,
        )
        return found.objects

    async def close(self) -> None:
        """Let go of the connections."""
        if self._client is not None:
            await self._client.close()

    async def _collection(self) -> Any:
        if self._client is None:
            async with self._connecting:
                if self._client is None:
                    self._client = await self._connect()
        return self._client.collections.use(self._name)

    async def _connect(self) -> WeaviateAsyncClient:
        client = WeaviateAsyncClient(
            self._parameters,
            auth_client_secret=self._auth,
            additional_config=AdditionalConfig(
                timeout=Timeout(init=READ_S, query=READ_S, insert=WRITE_S),
                grpc_config=GrpcConfig(channel_options=RECONNECT_OPTIONS),
            ),
            skip_init_checks=True,  # they would ask a package index for a newer client
        )
        try:
            await _within(READ_S, client.connect())
            if not await _within(READ_S, client.collections.exists(self._name)):
                await self._make_collection(client)
            await self._check_collection(client)
        except BaseException:
            await client.close()
            raise
        return client

    async def _make_collection(self, client: WeaviateAsyncClient) -> None:
        def field(name: str) -> Property:
            return Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization.FIELD, index_searchable=False)

        def words(name: str) -> Property:
            return Property(name=name, data_type=DataType.TEXT, tokenization=Tokenization.WORD, index_filterable=False)

        try:
            await _within(
                WRITE_S,
                client.collections.create(
                    self._name,
                    description=self._about,
                    properties=[
                        *(field(name) for name in ("key", "collection", "generation")),
                        Property(
                            name="document", data_type=DataType.TEXT, index_searchable=False, index_filterable=False
                        ),
                        Property(name="ordinal", data_type=DataType.INT, index_filterable=False),
                        *(words(name) for name in _SEARCHED),
                    ],
                    # Our own list of stop words is taken from the query already, so that both stores leave out the same.
                    inverted_index_config=Configure.inverted_index(stopwords_preset=StopwordsPreset.NONE),
                    multi_tenancy_config=Configure.multi_tenancy(enabled=True, auto_tenant_creation=False),
                    vector_config=Configure.Vectors.self_provided(
                        vector_index_config=Configure.VectorIndex.flat(distance_metric=VectorDistances.COSINE)
                    ),
                ),
            )
        except StoreFailed:
            # Another replica may have made it at the same moment.
            if not await _within(READ_S, client.collections.exists(self._name)):
                raise

    async def _check_collection(self, client: WeaviateAsyncClient) -> None:
        found = await _within(READ_S, client.collections.use(self._name).config.get())
        tenancy = found.multi_tenancy_config
        if found.description != self._about or not tenancy.enabled or tenancy.auto_tenant_creation:
            raise FailedPrecondition(
                Reason.STORE_UNFIT,
                f"Weaviate's collection {self._name} is not as this version of Tenantry makes it (schema "
                f"{SCHEMA_VERSION}, multi-tenant, tenants not made by themselves): start the version that made it, or "
                "delete the collection",
            )


def passage_id(key: Key, generation: str, ordinal: int) -> uuid.UUID:
    """The same passage of the same generation has the same id, and no other has."""
    return uuid.uuid5(_NAMESPACE, f"{_hash(key)} {generation} {ordinal}")


_NAMESPACE = uuid.UUID("6f0b2a52-5c53-4ba9-9a3f-0f0a7d0f2f5b")


def _hash(key: Key) -> str:
    """A document's name as one word of fixed form. A collection's name has no slash."""
    return hashlib.sha256(f"{key.collection}/{key.document}".encode()).hexdigest()


def _hit(found: Any, bm25: float, cosine: float) -> Hit:
    properties = found.properties
    return Hit(
        Key(properties["collection"], properties["document"]),
        properties["generation"],
        Passage(int(properties["ordinal"]), properties["heading"] or "", properties["text"]),
        bm25,
        cosine,
    )


def _cosine(stored: Any, wanted: Vectors) -> float:
    """Both are of unit length."""
    return float(sum(a * float(b) for a, b in zip(stored, wanted, strict=True))) if stored else 0.0


def _parameters(url: str, grpc_address: str) -> ConnectionParams:
    http = urlsplit(url)
    secure = http.scheme == "https"
    host = http.hostname or "127.0.0.1"
    grpc_host, _, grpc_port = grpc_address.rpartition(":") if grpc_address else (host, "", "50051")
    return ConnectionParams.from_params(
        http_host=host,
        http_port=http.port or (443 if secure else 80),
        http_secure=secure,
        grpc_host=grpc_host or host,
        grpc_port=int(grpc_port),
        grpc_secure=secure,
    )


async def _within(seconds: float, call: Awaitable[R]) -> R:
    try:
        async with asyncio.timeout(seconds):
            return await call
    except (exceptions.WeaviateBaseError, AioRpcError, httpx.HTTPError, OSError, ValueError) as error:
        raise translate(error) from None


# weaviate-client's exceptions after which the same call may succeed; a test fails on a class that is in neither list.
TRANSIENT: tuple[type[Exception], ...] = (
    exceptions.WeaviateConnectionError,
    exceptions.WeaviateGRPCUnavailableError,
    exceptions.WeaviateTimeoutError,
    exceptions.WeaviateRetryError,
    exceptions.WeaviateStartUpError,
    exceptions.WeaviateClosedClientError,
)
_TRANSIENT_CODES = (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.RESOURCE_EXHAUSTED)
_TOO_MANY_REQUESTS = 429
_SERVER_ERROR = 500


def translate(error: Exception) -> TenantryError:
    """The one mapping of what weaviate-client, its transports and our own deadline raise."""
    cause = error.__cause__ if isinstance(error, exceptions.WeaviateQueryError) else error
    if isinstance(cause, AioRpcError):
        transient = cause.code() in _TRANSIENT_CODES
    elif isinstance(error, exceptions.UnexpectedStatusCodeError):
        transient = error.status_code == _TOO_MANY_REQUESTS or error.status_code >= _SERVER_ERROR
    else:
        transient = isinstance(error, (*TRANSIENT, httpx.HTTPError, OSError))
    return StoreUnavailable(STORE) if transient else StoreFailed(f"{STORE}: {type(error).__name__}")
