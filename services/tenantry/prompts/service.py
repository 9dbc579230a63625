"""PromptService: protobuf to use case and back."""

from typing import Any

from grpc import aio

from tenantry.api.common.v1 import paging_pb2
from tenantry.api.prompts.v1 import prompt_service_pb2 as pb
from tenantry.api.prompts.v1 import prompt_service_pb2_grpc as grpc_pb
from tenantry.kit import caller, paging
from tenantry.kit.errors import InvalidArgument
from tenantry.kit.ids import check_name
from tenantry.kit.messages import time_message
from tenantry.kit.owner import Tenant
from tenantry.prompts.prompt import Prompt, Revision, Source
from tenantry.prompts.prompts import Prompts
from tenantry.prompts.store import PromptStore

_NEWEST = 2**31 - 1
Context = aio.ServicerContext[Any, Any]


class PromptService(grpc_pb.PromptServiceServicer):
    """Serves the contract of the same name."""

    def __init__(self, prompts: Prompts, store: PromptStore) -> None:
        self._prompts = prompts
        self._store = store

    async def CreatePrompt(self, request: pb.CreatePromptRequest, context: Context) -> pb.CreatePromptResponse:
        tenant = await self._named(request.tenant)
        made = await self._prompts.create(tenant, request.prompt, _source(request.source), caller.current().principal)
        return pb.CreatePromptResponse(prompt=_prompt(made))

    async def UpdatePrompt(self, request: pb.UpdatePromptRequest, context: Context) -> pb.UpdatePromptResponse:
        tenant = await self._named(request.tenant)
        author = caller.current().principal
        source = _source(request.source)
        changed = await self._prompts.update(tenant, request.prompt, source, author, request.version)
        return pb.UpdatePromptResponse(prompt=_prompt(changed))

    async def GetPrompt(self, request: pb.GetPromptRequest, context: Context) -> pb.GetPromptResponse:
        tenant = await self._named(request.tenant)
        prompt, revision = await self._prompts.get(tenant, request.prompt, request.revision)
        return pb.GetPromptResponse(prompt=_prompt(prompt), revision=_revision(revision))

    async def ListPrompts(self, request: pb.ListPromptsRequest, context: Context) -> pb.ListPromptsResponse:
        tenant = await self._named(request.tenant)
        size = paging.size_of(request.page.size)
        position = paging.position_of(request.page.token, [str])
        found = await self._store.list_prompts(tenant, str(position[0]) if position else "", size + 1)
        token = paging.token_of(found[size - 1].prompt) if len(found) > size else ""
        page = paging_pb2.PageResponse(next_token=token)
        return pb.ListPromptsResponse(prompts=[_prompt(one) for one in found[:size]], page=page)

    async def ListPromptRevisions(
        self, request: pb.ListPromptRevisionsRequest, context: Context
    ) -> pb.ListPromptRevisionsResponse:
        tenant = await self._named(request.tenant)
        name = check_name(request.prompt, "prompt")
        size = paging.size_of(request.page.size)
        position = paging.position_of(request.page.token, [int])
        found = await self._store.list_revisions(tenant, name, int(position[0]) if position else _NEWEST, size + 1)
        token = paging.token_of(found[size - 1].revision) if len(found) > size else ""
        page = paging_pb2.PageResponse(next_token=token)
        return pb.ListPromptRevisionsResponse(revisions=[_revision(one) for one in found[:size]], page=page)

    async def RollbackPrompt(self, request: pb.RollbackPromptRequest, context: Context) -> pb.RollbackPromptResponse:
        tenant = await self._named(request.tenant)
        changed = await self._prompts.rollback(tenant, request.prompt, request.revision, request.version)
        return pb.RollbackPromptResponse(prompt=_prompt(changed))

    async def DeletePrompt(self, request: pb.DeletePromptRequest, context: Context) -> pb.DeletePromptResponse:
        await self._prompts.delete(await self._named(request.tenant), request.prompt, request.version)
        return pb.DeletePromptResponse()

    async def RenderPrompt(self, request: pb.RenderPromptRequest, context: Context) -> pb.RenderPromptResponse:
        rendered = await self._prompts.render(caller.owner(), request.prompt, request.revision, dict(request.variables))
        return pb.RenderPromptResponse(
            prompt=rendered.prompt,
            revision=rendered.revision,
            system=rendered.system,
            user=rendered.user,
            output_schema=rendered.source.output_schema,
            max_output_tokens=rendered.source.max_output_tokens,
            temperature=rendered.source.temperature,
        )

    async def _named(self, tenant_id: str) -> Tenant:
        return await caller.named_tenant(tenant_id, self._store.find_tenant)


def _source(source: pb.PromptSource) -> Source:
    if not source.ByteSize():
        raise InvalidArgument("source", "is missing")
    temperature = source.temperature if source.HasField("temperature") else None
    return Source(source.system, source.user, source.output_schema, source.max_output_tokens, temperature)


def _prompt(prompt: Prompt) -> pb.Prompt:
    return pb.Prompt(
        prompt=prompt.prompt,
        production_revision=prompt.production_revision,
        latest_revision=prompt.latest_revision,
        version=prompt.version,
        update_time=time_message(int(prompt.updated_at * 1e9)),
    )


def _revision(revision: Revision) -> pb.PromptRevision:
    source = revision.source
    return pb.PromptRevision(
        revision=revision.revision,
        source=pb.PromptSource(
            system=source.system,
            user=source.user,
            output_schema=source.output_schema,
            max_output_tokens=source.max_output_tokens,
            temperature=source.temperature,
        ),
        create_time=time_message(int(revision.created_at * 1e9)),
        author=revision.author,
    )
