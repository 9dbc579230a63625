"""PromptService as its callers see it."""

import pytest

from tenantry.api.prompts.v1 import prompt_service_pb2 as pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.kit.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from tests.harness.room import Served, caller_of

ADMIN = caller_of(scopes={"prompts.read", "prompts.write"})
SOURCE = pb.PromptSource(system="Be brief.", user="Q: {{ question }}")


async def test_a_new_tenant_has_the_default_prompt(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel(service="gateway"))
    with prompts.calling(caller_of(scopes={"generate"})):
        rendered = await stub.RenderPrompt(pb.RenderPromptRequest(variables={"question": "why?"}))
    assert (rendered.prompt, rendered.revision, rendered.user) == ("answer", 1, "why?")
    assert rendered.max_output_tokens == 1024


async def test_an_update_is_rendered_at_once_and_a_rollback_too(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(ADMIN):
        await stub.CreatePrompt(pb.CreatePromptRequest(prompt="brief", source=SOURCE))
        ask = pb.RenderPromptRequest(prompt="brief", variables={"question": "why?"})
        assert (await stub.RenderPrompt(ask)).user == "Q: why?"
        changed = pb.PromptSource(user="Frage: {{ question }}", output_schema='{"type": "object"}', temperature=0)
        updated = await stub.UpdatePrompt(pb.UpdatePromptRequest(prompt="brief", source=changed, version=1))
        assert (updated.prompt.production_revision, updated.prompt.version) == (2, 2)
        rendered = await stub.RenderPrompt(ask)
        assert (rendered.user, rendered.revision, rendered.output_schema) == ("Frage: why?", 2, '{"type": "object"}')
        assert rendered.HasField("temperature")
        await stub.RollbackPrompt(pb.RollbackPromptRequest(prompt="brief", revision=1, version=2))
        assert (await stub.RenderPrompt(ask)).user == "Q: why?"
        revision_2 = pb.RenderPromptRequest(prompt="brief", revision=2, variables={"question": "why?"})
        assert (await stub.RenderPrompt(revision_2)).user == "Frage: why?"
        listed = await stub.ListPromptRevisions(pb.ListPromptRevisionsRequest(prompt="brief"))
        assert [one.revision for one in listed.revisions] == [2, 1]


async def test_a_write_that_names_an_old_version_is_refused(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(ADMIN):
        await stub.UpdatePrompt(pb.UpdatePromptRequest(prompt="answer", source=SOURCE, version=1))
        with pytest.raises(Aborted) as refused:
            await stub.UpdatePrompt(pb.UpdatePromptRequest(prompt="answer", source=SOURCE, version=1))
        assert refused.value.metadata["version"] == "2"


async def test_a_name_that_is_taken_is_refused(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(ADMIN), pytest.raises(AlreadyExists):
        await stub.CreatePrompt(pb.CreatePromptRequest(prompt="answer", source=SOURCE))


async def test_lists_come_in_pages(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(ADMIN):
        for name in ("b", "c", "a"):
            await stub.CreatePrompt(pb.CreatePromptRequest(prompt=name, source=SOURCE))
        request = pb.ListPromptsRequest()
        request.page.size = 3
        first = await stub.ListPrompts(request)
        assert [one.prompt for one in first.prompts] == ["a", "answer", "b"]
        request.page.token = first.page.next_token
        second = await stub.ListPrompts(request)
        assert [one.prompt for one in second.prompts] == ["c"]
        assert not second.page.next_token


async def test_each_wrong_field_of_a_source_is_named(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    bad = pb.PromptSource(system="{% for %}", user="", output_schema="[1]", max_output_tokens=-1, temperature=3)
    with prompts.calling(ADMIN), pytest.raises(InvalidArgument) as refused:
        await stub.CreatePrompt(pb.CreatePromptRequest(prompt="bad", source=bad))
    assert {field for field, _ in refused.value.violations} == {
        "source.system",
        "source.user",
        "source.output_schema",
        "source.max_output_tokens",
        "source.temperature",
    }


async def test_a_missing_variable_is_named_by_its_field_and_not_quoted(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(ADMIN), pytest.raises(InvalidArgument) as refused:
        await stub.RenderPrompt(pb.RenderPromptRequest(variables={"canary": "cu-17-secret"}))
    assert refused.value.violations[0][0] == "variables"
    assert "cu-17-secret" not in str(refused.value)


async def test_an_operator_may_name_any_tenant_and_a_tenants_admin_only_its_own(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(caller_of("", "", scopes={"prompts.read"})):
        assert (await stub.GetPrompt(pb.GetPromptRequest(tenant="globex", prompt="answer"))).prompt.prompt == "answer"
    with prompts.calling(caller_of("", "acme-org", scopes={"prompts.read"})):
        await stub.GetPrompt(pb.GetPromptRequest(tenant="acme", prompt="answer"))
        with pytest.raises(NotFound):
            await stub.GetPrompt(pb.GetPromptRequest(tenant="globex", prompt="answer"))
    with prompts.calling(ADMIN), pytest.raises(NotFound):
        await stub.GetPrompt(pb.GetPromptRequest(tenant="globex", prompt="answer"))


async def test_a_missing_scope_is_said_before_anything_else(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(caller_of(scopes={"generate"})), pytest.raises(PermissionDenied) as refused:
        await stub.GetPrompt(pb.GetPromptRequest(tenant="nobody", prompt="answer"))
    assert refused.value.metadata == {"scope": "prompts.read"}


async def test_a_tenant_that_was_not_provisioned_is_refused(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(caller_of("initech", scopes={"prompts.read"})), pytest.raises(FailedPrecondition):
        await stub.RenderPrompt(pb.RenderPromptRequest(variables={"question": "why?"}))
