"""How well and how fast passages are found, on half of SQuAD 2.0 dev or data of the same form.

`TENANTRY_BENCH_DATA=../shared/data python -m tests.bench.retrieval [FOLDER]`: a FOLDER with `corpus.jsonl.gz`, `queries.jsonl.gz`
and `qrels.tsv.gz` (BEIR) is measured instead of `squad-dev`. Every passage is a document; the store is SQLite, the way that
a request takes is the real one but for gRPC. Prints a table, then one line of JSON.
"""

import asyncio
import gzip
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tenantry.kit.clock import SystemClock
from tenantry.kit.owner import Tenant
from tenantry.retrieval import search as search_module
from tenantry.retrieval.allowed import Allowed
from tenantry.retrieval.documents import Documents, Format, Sent
from tenantry.retrieval.embedder import WordLlamaEmbedder
from tenantry.retrieval.fusion import Scores, fuse
from tenantry.retrieval.limits import Limits
from tenantry.retrieval.query import terms_of
from tenantry.retrieval.search import Search
from tenantry.retrieval.store import Candidate, Query
from tenantry.retrieval.store_sqlite import SqliteStore

# The rule must beat each of its two lists alone, at 1 and at 5, and a search takes a few milliseconds.
GOAL_P50_MS = 5.0
TENANT = Tenant("bench", "bench")
EVERYTHING = Allowed()


@dataclass(frozen=True)
class Data:
    corpus: dict[str, tuple[str, str]]
    queries: dict[str, str]
    relevant: dict[str, set[str]]


def load(folder: Path) -> Data:
    def lines(name: str) -> list[str]:
        with gzip.open(folder / name, "rt", encoding="utf-8") as file:
            return file.read().splitlines()

    corpus = {one["_id"]: (one["title"], one["text"]) for one in map(json.loads, lines("corpus.jsonl.gz"))}
    queries = {one["_id"]: one["text"] for one in map(json.loads, lines("queries.jsonl.gz"))}
    relevant: dict[str, set[str]] = {}
    for line in lines("qrels.tsv.gz")[1:]:
        query, document, score = line.split("\t")
        if int(score) > 0:
            relevant.setdefault(query, set()).add(document)
    return Data(corpus, {id: text for id, text in queries.items() if id in relevant}, relevant)


def rrf(candidates: Sequence[Candidate], weight: float, k: int) -> list[float]:
    """Reciprocal rank fusion (Cormack, Clarke, Büttcher 2009), for comparison."""

    def ranks(score: Callable[[Candidate], float]) -> dict[int, int]:
        order = sorted((i for i, c in enumerate(candidates) if score(c) > 0), key=lambda i: -score(candidates[i]))
        return {place: rank for rank, place in enumerate(order, start=1)}

    words, vectors = ranks(lambda c: c.bm25), ranks(lambda c: c.cosine)
    return [
        (1 / (k + words[i]) if i in words else 0.0) + (weight / (k + vectors[i]) if i in vectors else 0.0)
        for i in range(len(candidates))
    ]


RULES: dict[str, Callable[[Sequence[Candidate]], list[float]]] = {
    "BM25 alone": lambda found: [c.bm25 for c in found],
    "vectors alone": lambda found: [c.cosine for c in found],
    "reciprocal ranks, equal weights, k=60": lambda found: rrf(found, 1.0, 60),
    "reciprocal ranks, vectors at .1, k=10": lambda found: rrf(found, 0.1, 10),
    "the rule of fusion.py": lambda found: fuse(Scores(c.bm25, c.cosine) for c in found),
}


def measure(ranked: dict[str, list[str]], data: Data) -> tuple[float, float, float]:
    """Recall at 1 and at 5, and the mean reciprocal rank within the first ten."""
    at_1 = at_5 = reciprocal = 0.0
    for query, documents in ranked.items():
        places = [place for place, document in enumerate(documents[:10], 1) if document in data.relevant[query]]
        if places:
            at_1 += places[0] == 1
            at_5 += places[0] <= 5
            reciprocal += 1 / places[0]
    return at_1 / len(ranked), at_5 / len(ranked), reciprocal / len(ranked)


async def run(folder: Path) -> dict[str, object]:
    data = load(folder)
    embedder = WordLlamaEmbedder()
    with tempfile.TemporaryDirectory() as directory:
        store = SqliteStore(Path(directory), embedder.name)
        await store.provision(TENANT)
        documents = Documents(store, embedder, SystemClock(), Limits())
        started = time.perf_counter()
        for id, (title, text) in data.corpus.items():
            await documents.upsert(TENANT, EVERYTHING, Sent("", id, title, Format.TEXT, text.encode()))
        upsert_ms = (time.perf_counter() - started) / len(data.corpus) * 1000
        found: dict[str, list[Candidate]] = {}
        for id, text in data.queries.items():
            vector = (await embedder.embed([text]))[0]
            query = Query(terms_of(text), vector, None, search_module.DEPTH)
            found[id] = (await store.search(TENANT, query)).candidates
        times_ms: list[float] = []
        search = Search(store, embedder)
        for text in list(data.queries.values())[:1000]:
            started = time.perf_counter()
            await search.passages(TENANT, EVERYTHING, text, (), 8)
            times_ms.append((time.perf_counter() - started) * 1000)
        await store.close()
        documents.close()
    embedder.close()
    return report(data, found, upsert_ms, times_ms)


def report(data: Data, found: dict[str, list[Candidate]], upsert_ms: float, times_ms: list[float]) -> dict[str, object]:
    print(f"{len(data.corpus)} documents, {len(data.queries)} questions\n")
    print(f"{'rule':40} {'recall@1':>9} {'@5':>6} {'MRR':>6}")
    figures: dict[str, tuple[float, float, float]] = {}
    for name, rule in RULES.items():
        ranked: dict[str, list[str]] = {}
        for query, candidates in found.items():
            order = sorted(zip(rule(candidates), candidates, strict=True), key=lambda pair: -pair[0])
            ranked[query] = list(dict.fromkeys(candidate.key.document for _, candidate in order))
        figures[name] = measure(ranked, data)
        at_1, at_5, reciprocal = figures[name]
        print(f"{name:40} {at_1:9.3f} {at_5:6.3f} {reciprocal:6.3f}")
    p50, p99 = statistics.median(times_ms), statistics.quantiles(times_ms, n=100)[98]
    print(f"\nsearch p50 {p50:.2f} ms, p99 {p99:.2f} ms; upsert {upsert_ms:.2f} ms a document")
    ours = figures["the rule of fusion.py"]
    better = all(ours[place] >= figures[alone][place] for place in (0, 1) for alone in ("BM25 alone", "vectors alone"))
    return {
        "recall_at_1": round(ours[0], 4),
        "recall_at_5": round(ours[1], 4),
        "mrr": round(ours[2], 4),
        "search_p50_ms": round(p50, 3),
        "search_p99_ms": round(p99, 3),
        "upsert_ms": round(upsert_ms, 3),
        "holds": better and p50 <= GOAL_P50_MS,
    }


if __name__ == "__main__":
    default = Path(os.environ.get("TENANTRY_BENCH_DATA", "../shared/data")) / "squad-dev"
    print(json.dumps(asyncio.run(run(Path(sys.argv[1]) if len(sys.argv) > 1 else default))))
