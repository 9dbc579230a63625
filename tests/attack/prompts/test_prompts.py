"""Attacks on prompts: another tenant's, by every way the contract allows."""

from pathlib import Path

import pytest

from tenantry.api.prompts.v1 import prompt_service_pb2 as pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.kit.errors import InvalidArgument, NotFound, PermissionDenied, TenantryError
from tests.functional.prompts.conftest import prompts as prompts
from tests.harness.room import Served, caller_of

MARK = "globex-7f3a-secret"
ADMIN = caller_of(scopes={"prompts.read", "prompts.write"})
NAMED = [
    pb.CreatePromptRequest(tenant="globex", prompt="x", source=pb.PromptSource(user="u")),
    pb.UpdatePromptRequest(tenant="globex", prompt="secret", source=pb.PromptSource(user="u"), version=1),
    pb.GetPromptRequest(tenant="globex", prompt="secret"),
    pb.ListPromptsRequest(tenant="globex"),
    pb.ListPromptRevisionsRequest(tenant="globex", prompt="secret"),
    pb.RollbackPromptRequest(tenant="globex", prompt="secret", revision=1, version=1),
    pb.DeletePromptRequest(tenant="globex", prompt="secret", version=1),
]


async def _hide(room: Served) -> None:
    with room.calling(caller_of("globex", "globex-org", scopes={"prompts.write"})):
        source = pb.PromptSource(system=MARK, user="{{ question }}")
        stub = PromptServiceStub(room.channel())
        await stub.CreatePrompt(pb.CreatePromptRequest(prompt="secret", source=source))


@pytest.mark.parametrize("request_", NAMED, ids=lambda one: type(one).__name__)
async def test_naming_another_tenant_in_an_admin_request_is_not_found(prompts: Served, request_: object) -> None:
    await _hide(prompts)
    call = getattr(PromptServiceStub(prompts.channel()), type(request_).__name__.removesuffix("Request"))
    with prompts.calling(ADMIN), pytest.raises(NotFound) as refused:
        await call(request_)
    assert MARK not in str(refused.value) and "secret" not in str(refused.value)


async def test_rendering_another_tenants_prompt_by_its_name_is_not_found(prompts: Served) -> None:
    await _hide(prompts)
    stub = PromptServiceStub(prompts.channel())
    for name, revision in (("secret", 0), ("secret", 1)):
        with prompts.calling(ADMIN), pytest.raises(NotFound):
            await stub.RenderPrompt(pb.RenderPromptRequest(prompt=name, revision=revision))


@pytest.mark.parametrize(
    "name", ["globex/secret", "../globex/secret", "secret\x00", "SECRET", "secret ", "sеcret", "a/b", "x" * 64]
)
async def test_a_name_with_delimiters_or_lookalikes_is_refused_as_such(prompts: Served, name: str) -> None:
    await _hide(prompts)
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(ADMIN), pytest.raises(InvalidArgument) as refused:
        await stub.RenderPrompt(pb.RenderPromptRequest(prompt=name))
    assert refused.value.violations[0][0] == "prompt"


async def test_a_page_token_of_another_list_or_tenant_gives_nothing_of_theirs(prompts: Served) -> None:
    await _hide(prompts)
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(caller_of("globex", "globex-org", scopes={"prompts.read"})):
        asked = pb.ListPromptsRequest()
        asked.page.size = 1
        token = (await stub.ListPrompts(asked)).page.next_token
    asked.page.token = token
    with prompts.calling(ADMIN):
        assert not (await stub.ListPrompts(asked)).prompts
        revisions = pb.ListPromptRevisionsRequest(prompt="answer")
        revisions.page.token = token
        with pytest.raises(InvalidArgument):
            await stub.ListPromptRevisions(revisions)


async def test_a_templates_content_is_in_no_file_but_the_store_and_in_no_error(prompts: Served, tmp_path: Path) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(ADMIN):
        for source in (f"{MARK} {{{{", f"{{{{ {MARK} }}}}", f"{{% {MARK} %}}"):
            with pytest.raises(TenantryError) as refused:
                await stub.CreatePrompt(pb.CreatePromptRequest(prompt="x", source=pb.PromptSource(user=source)))
                await stub.RenderPrompt(pb.RenderPromptRequest(prompt="x"))
            assert MARK not in str(refused.value) and MARK not in str(refused.value.metadata)


async def test_the_scope_of_a_reader_does_not_write(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel())
    with prompts.calling(caller_of(scopes={"prompts.read"})), pytest.raises(PermissionDenied):
        await stub.CreatePrompt(pb.CreatePromptRequest(prompt="x", source=pb.PromptSource(user="u")))


async def test_the_gateways_identity_without_a_caller_renders_nothing(prompts: Served) -> None:
    stub = PromptServiceStub(prompts.channel(service="gateway"))
    with prompts.calling(None), pytest.raises(TenantryError) as refused:
        await stub.RenderPrompt(pb.RenderPromptRequest())
    assert refused.value.code == "UNAUTHENTICATED"
