"""One tenant in the search for leaks: what its programs and people do, and what they try that is not theirs."""

import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from grpc import aio

from tenantry.api.cache.v1 import cache_service_pb2 as cache_pb
from tenantry.api.cache.v1.cache_service_pb2_grpc import CacheServiceStub
from tenantry.api.gateway.v1 import gateway_service_pb2 as gateway_pb
from tenantry.api.gateway.v1.gateway_service_pb2_grpc import GatewayServiceStub
from tenantry.api.insight.v1 import trace_service_pb2 as trace_pb
from tenantry.api.insight.v1 import usage_service_pb2 as usage_pb
from tenantry.api.insight.v1.trace_service_pb2_grpc import TraceServiceStub
from tenantry.api.insight.v1.usage_service_pb2_grpc import UsageServiceStub
from tenantry.api.models.v1 import model_service_pb2 as model_pb
from tenantry.api.models.v1.model_service_pb2_grpc import ModelServiceStub
from tenantry.api.prompts.v1 import prompt_service_pb2 as prompt_pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.api.quota.v1 import limit_service_pb2 as limit_pb
from tenantry.api.quota.v1.limit_service_pb2_grpc import LimitServiceStub
from tenantry.api.retrieval.v1 import document_service_pb2 as document_pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.api.tenancy.v1 import audit_service_pb2 as audit_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1.audit_service_pb2_grpc import AuditServiceStub
from tenantry.api.tenancy.v1.key_service_pb2_grpc import KeyServiceStub
from tests.harness.leaks_marks import Marks

# The same at every tenant, so that whatever forgets the tenant finds another's.
SUBJECTS = ("refund", "support", "warranty", "shipping", "security", "payment")
QUESTIONS = tuple(f"What is the {subject} rule?" for subject in SUBJECTS)
END_USERS = ("ann", "ben")
PROMPT = "house"
_DEADLINE_S = 30.0
# What a busy machine says; it is counted apart, since it leaks nothing.
_OVERLOAD = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
_REMEMBERED = 200


class Actor:
    """A tenant's caller. Everything that it hears is looked at."""

    def __init__(self, channel: aio.Channel, key: str, place: int, marks: Marks) -> None:
        self.place, self.marks = place, marks
        self.tenant, self.mark = marks.tenants[place], marks.marks[place]
        self.everybody: list[Actor] = []
        self.own_marks = 0
        self.requests: deque[str] = deque(maxlen=_REMEMBERED)
        self.traces: deque[str] = deque(maxlen=_REMEMBERED)
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._version = 1
        self._gateway, self._documents = GatewayServiceStub(channel), DocumentServiceStub(channel)
        self._prompts, self._traces, self._usage = (
            PromptServiceStub(channel),
            TraceServiceStub(channel),
            UsageServiceStub(channel),
        )
        self._cache, self._limits, self._models = (
            CacheServiceStub(channel),
            LimitServiceStub(channel),
            ModelServiceStub(channel),
        )
        self._keys, self._audit = KeyServiceStub(channel), AuditServiceStub(channel)
        self._mix: list[tuple[str, int, Callable[[random.Random], Awaitable[None]]]] = [
            ("ask", 600, self._ask),
            ("ask by stream", 120, self._ask_by_stream),
            ("search", 60, self._search),
            ("render", 60, self._render),
            # Seldom: each makes all that the cache has of the tenant void, and what is shared by mistake is shared there.
            ("upsert", 4, self._upsert),
            ("delete document", 1, self._delete),
            ("list documents", 20, self._list_documents),
            ("prompts", 8, self._edit_prompts),
            ("traces", 20, self._look_at_traces),
            ("usage", 16, self._look_at_usage),
            ("models, keys, audit", 15, self._look_at_lists),
            ("cache", 15, self._look_at_cache),
            ("foreign", 40, self._reach_for_foreign),
        ]

    async def begin(self) -> None:
        """A prompt and documents, the same in name at every tenant."""
        source = prompt_pb.PromptSource(system=f"House rules {self.mark}.", user="{{ question }} {{ tone }}")
        await self._call(self._prompts.CreatePrompt, prompt_pb.CreatePromptRequest(prompt=PROMPT, source=source))
        for subject in SUBJECTS:
            await self._send_document(subject, 0)

    async def act(self, dice: random.Random) -> str:
        """One operation by chance; its kind."""
        kinds, weights, works = zip(*self._mix, strict=True)
        chosen = dice.choices(range(len(kinds)), weights)[0]
        await works[chosen](dice)
        return kinds[chosen]

    async def _call(self, method: Any, request: Any, *, foreign: bool = False, ids: bool = True) -> Any:
        """The answer, looked at; None for a refusal, whose words are looked at too."""
        try:
            answer = await method(request, metadata=self._metadata, timeout=_DEADLINE_S)
        except aio.AioRpcError as error:
            self._refused(error, foreign=foreign)
            return None
        self._look(answer, ids=ids)
        return answer

    def _look(self, answer: Any, *, ids: bool = True) -> None:
        where = f"answer {type(answer).__name__}"
        self.own_marks += self.marks.owned(where, answer.SerializeToString(), self.place, ids=ids)

    def _refused(self, error: aio.AioRpcError, *, foreign: bool) -> None:
        words = f"{error.details()} {list(error.trailing_metadata() or ())!r}"
        self.marks.content("error", words)
        self.marks.owned("error", words.encode(), self.place)
        expected = {"NOT_FOUND", "ABORTED", "INVALID_ARGUMENT"} if foreign else {"ABORTED", "NOT_FOUND"}
        if error.code().name in _OVERLOAD:
            self.marks.looked_at["refusals for lack of time"] += 1
        elif error.code().name not in expected:
            self.marks.wrong("status", f"{error.code().name}: {error.details()}")

    def _query(self, dice: random.Random, **more: Any) -> gateway_pb.GenerationQuery:
        own = {"personal": dice.random() < 0.1, "end_user": f"{dice.choice(END_USERS)}-{self.mark}"}
        if dice.random() < 0.2:
            own |= {"prompt": PROMPT, "variables": {"tone": f"kindly {self.mark}"}}
        if dice.random() < 0.02:
            own["cache"] = gateway_pb.CACHE_USE_OFF
        question = dice.choice(QUESTIONS)
        # Some questions are only this tenant's, most are everybody's.
        question = f"{question} ({self.mark})" if dice.random() < 0.1 else question
        return gateway_pb.GenerationQuery(question=question, **{**own, **more})

    async def _ask(self, dice: random.Random) -> None:
        request = gateway_pb.GenerateContentRequest(query=self._query(dice))
        answer = await self._call(self._gateway.GenerateContent, request)
        if answer is not None:
            self._remember(answer.summary)

    async def _ask_by_stream(self, dice: random.Random) -> None:
        request = gateway_pb.StreamGenerateContentRequest(query=self._query(dice))
        stream = self._gateway.StreamGenerateContent(request, metadata=self._metadata, timeout=_DEADLINE_S)
        ends_early = dice.random() < 0.1
        text: list[str] = []
        try:
            async for piece in stream:
                self._look(piece)
                text.append(piece.text_delta)
                if piece.HasField("completed"):
                    self._remember(piece.completed)
                if ends_early and piece.text_delta:
                    stream.cancel()
                    return
        except aio.AioRpcError as error:
            self._refused(error, foreign=False)
        # A mark may be spread over pieces.
        self.marks.owned("answer", "".join(text).encode(), self.place)

    def _remember(self, summary: gateway_pb.GenerationSummary) -> None:
        self.requests.append(summary.request_id)
        self.traces.append(summary.trace_id)

    async def _search(self, dice: random.Random) -> None:
        query = f"{dice.choice(SUBJECTS)} rule" if dice.random() < 0.5 else f"{dice.choice(self.marks.marks)}"
        await self._call(self._documents.SearchPassages, document_pb.SearchPassagesRequest(query=query, limit=50))

    async def _render(self, dice: random.Random) -> None:
        variables = {"question": f"why {self.mark}", "tone": dice.choice(("kindly", "shortly"))}
        await self._call(self._prompts.RenderPrompt, prompt_pb.RenderPromptRequest(prompt=PROMPT, variables=variables))

    async def _send_document(self, subject: str, number: int) -> None:
        text = f"# The {subject}\n\nThe {subject} rule is {self.mark}: it holds for {number} days in every office.\n"
        request = document_pb.UpsertDocumentsRequest(
            document=subject, text=text.encode(), title=f"{subject} {self.mark}"
        )
        stream = self._documents.UpsertDocuments(iter([request]), metadata=self._metadata, timeout=_DEADLINE_S)
        try:
            async for answer in stream:
                self._look(answer)
        except aio.AioRpcError as error:
            self._refused(error, foreign=False)

    async def _upsert(self, dice: random.Random) -> None:
        await self._send_document(dice.choice(SUBJECTS), dice.randrange(1000))

    async def _delete(self, dice: random.Random) -> None:
        request = document_pb.DeleteDocumentRequest(document=dice.choice(SUBJECTS))
        await self._call(self._documents.DeleteDocument, request)

    async def _list_documents(self, dice: random.Random) -> None:
        await self._call(self._documents.ListDocuments, document_pb.ListDocumentsRequest())

    async def _edit_prompts(self, dice: random.Random) -> None:
        found = await self._call(self._prompts.GetPrompt, prompt_pb.GetPromptRequest(prompt=PROMPT))
        if found is not None and dice.random() < 0.3:
            source = prompt_pb.PromptSource(
                system=f"Rules {self.mark} {dice.randrange(9)}.", user="{{ question }} {{ tone }}"
            )
            request = prompt_pb.UpdatePromptRequest(prompt=PROMPT, source=source, version=found.prompt.version)
            await self._call(self._prompts.UpdatePrompt, request)
        await self._call(self._prompts.ListPrompts, prompt_pb.ListPromptsRequest())

    async def _look_at_traces(self, dice: random.Random) -> None:
        await self._call(self._traces.ListTraces, trace_pb.ListTracesRequest())
        if self.traces:
            request = trace_pb.GetTraceRequest(trace_id=dice.choice(dice.choice((self.traces, self.requests))))
            await self._call(self._traces.GetTrace, request, foreign=True)

    async def _look_at_usage(self, dice: random.Random) -> None:
        grouping = dice.choice(usage_pb.UsageGrouping.values())
        await self._call(self._usage.GetUsage, usage_pb.GetUsageRequest(grouping=grouping))
        await self._call(self._usage.ListUsageRecords, usage_pb.ListUsageRecordsRequest())
        await self._call(self._limits.GetQuotaUsage, limit_pb.GetQuotaUsageRequest())
        await self._call(self._limits.ListRefusedTenants, limit_pb.ListRefusedTenantsRequest())

    async def _look_at_lists(self, dice: random.Random) -> None:
        await self._call(self._models.ListModels, model_pb.ListModelsRequest())
        await self._call(self._keys.ListApiKeys, key_pb.ListApiKeysRequest())
        # It says which others this tenant named in vain.
        await self._call(self._audit.ListAuditEvents, audit_pb.ListAuditEventsRequest(), ids=False)

    async def _look_at_cache(self, dice: random.Random) -> None:
        await self._call(self._cache.GetCacheStats, cache_pb.GetCacheStatsRequest())
        if dice.random() < 0.1:
            await self._call(self._cache.InvalidateEntries, cache_pb.InvalidateEntriesRequest())

    async def _reach_for_foreign(self, dice: random.Random) -> None:
        """Another tenant's things, named in every way there is: nothing may be found."""
        other = dice.choice([one for one in self.everybody if one is not self])
        tries: list[tuple[Any, Any]] = [
            (self._usage.GetUsage, usage_pb.GetUsageRequest(tenant=other.tenant)),
            (self._usage.ListUsageRecords, usage_pb.ListUsageRecordsRequest(tenant=other.tenant)),
            (self._limits.GetQuotaLimits, limit_pb.GetQuotaLimitsRequest(tenant=other.tenant)),
            (self._limits.GetQuotaUsage, limit_pb.GetQuotaUsageRequest(tenant=other.tenant)),
            (self._limits.ListRefusedTenants, limit_pb.ListRefusedTenantsRequest(tenant=other.tenant)),
            (self._prompts.GetPrompt, prompt_pb.GetPromptRequest(tenant=other.tenant, prompt=PROMPT)),
            (self._prompts.ListPrompts, prompt_pb.ListPromptsRequest(tenant=other.tenant)),
            (self._keys.ListApiKeys, key_pb.ListApiKeysRequest(tenant=other.tenant)),
            (self._audit.ListAuditEvents, audit_pb.ListAuditEventsRequest(tenant=other.tenant)),
            (self._models.GetRoutingPolicy, model_pb.GetRoutingPolicyRequest(tenant=other.tenant)),
        ]
        if other.traces:
            tries.append((self._traces.GetTrace, trace_pb.GetTraceRequest(trace_id=dice.choice(other.traces))))
            tries.append((self._traces.GetTrace, trace_pb.GetTraceRequest(trace_id=dice.choice(other.requests))))
        method, request = dice.choice(tries)
        if await self._call(method, request, foreign=True) is not None:
            self.marks.wrong("foreign", f"{type(request).__name__} for {other.tenant} was answered to {self.tenant}")
