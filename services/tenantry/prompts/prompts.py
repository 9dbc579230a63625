"""The use cases of prompts: checks what authors write, keeps it, and renders it for the caller's tenant."""

import asyncio
from collections.abc import Mapping

from tenantry.kit.errors import InvalidArgument
from tenantry.kit.ids import check_name
from tenantry.kit.memory import Memory
from tenantry.kit.owner import Tenant
from tenantry.prompts.prompt import DEFAULT_PROMPT, DEFAULT_SOURCE, Prompt, Rendered, Revision, Source, key_of
from tenantry.prompts.store import PromptStore
from tenantry.prompts.templates import Template, check_source, check_variables

Compiled = tuple[int, Template]


class Prompts:
    """A tenant's prompts. `compiled` remembers the production revision of each by `key_of`."""

    def __init__(self, store: PromptStore, compiled: Memory[Compiled]) -> None:
        self._store = store
        self._compiled = compiled

    async def create(self, tenant: Tenant, prompt: str, source: Source, author: str) -> Prompt:
        """Makes a prompt; `production` points at its revision 1."""
        check_name(prompt, "prompt")
        return self._changed(tenant, await self._store.create(tenant, prompt, await _checked(source), author))

    async def update(self, tenant: Tenant, prompt: str, source: Source, author: str, version: int) -> Prompt:
        """Adds a revision, which `production` points at from now on."""
        check_name(prompt, "prompt")
        checked = await _checked(source)
        return self._changed(tenant, await self._store.revise(tenant, prompt, checked, author, _version(version)))

    async def rollback(self, tenant: Tenant, prompt: str, revision: int, version: int) -> Prompt:
        """Points `production` at an earlier revision."""
        check_name(prompt, "prompt")
        if revision < 1:
            raise InvalidArgument("revision", "is missing")
        return self._changed(tenant, await self._store.point(tenant, prompt, revision, _version(version)))

    async def delete(self, tenant: Tenant, prompt: str, version: int) -> None:
        """Deletes a prompt with its revisions."""
        check_name(prompt, "prompt")
        await self._store.delete(tenant, prompt, _version(version))
        self._compiled.drop(key_of(tenant, prompt))

    async def get(self, tenant: Tenant, prompt: str, revision: int) -> tuple[Prompt, Revision]:
        """A prompt and a revision, 0 for the one of `production`."""
        check_name(prompt, "prompt")
        return await self._store.get(tenant, prompt, _revision(revision))

    async def render(self, tenant: Tenant, prompt: str, revision: int, variables: Mapping[str, str]) -> Rendered:
        """Renders a revision, 0 for the one of `production`; an empty name is the default prompt."""
        name = check_name(prompt or DEFAULT_PROMPT, "prompt")
        check_variables(variables)
        if _revision(revision):
            stored = (await self._store.get(tenant, name, revision))[1]
            number, template = revision, await asyncio.to_thread(Template, stored.source)
        else:
            number, template = await self._compiled.get(key_of(tenant, name))
        if template.quick:
            system, user = template.render(name, variables)
        else:
            system, user = await asyncio.to_thread(template.render, name, variables)
        return Rendered(name, number, system, user, template.source)

    async def provision(self, tenant: Tenant, tier: str) -> str:
        """Begins to serve the tenant, with the default prompt."""
        made = await self._store.add_tenant(tenant, tier, DEFAULT_PROMPT, check_source(DEFAULT_SOURCE))
        return f"made the prompt {DEFAULT_PROMPT}" if made else "nothing to do"

    async def deprovision(self, tenant: Tenant) -> str:
        """Deletes all prompts of the tenant."""
        deleted = await self._store.remove_tenant(tenant)
        return "nothing to do" if deleted is None else f"deleted {deleted} prompts"

    def _changed(self, tenant: Tenant, prompt: Prompt) -> Prompt:
        # This replica forgets at once, so that a writer sees its own write; the others with the change log.
        self._compiled.drop(key_of(tenant, prompt.prompt))
        return prompt


async def compile_production(store: PromptStore, key: str) -> Compiled:
    """What the memory of compiled prompts loads for a key."""
    tenant_id, _, name = key.partition("/")
    prompt, revision = await store.get(Tenant("", tenant_id), name, 0)
    return prompt.production_revision, await asyncio.to_thread(Template, revision.source)


async def _checked(source: Source) -> Source:
    # A hostile template or schema may take some milliseconds to refuse.
    return await asyncio.to_thread(check_source, source)


def _revision(revision: int) -> int:
    if revision < 0:
        raise InvalidArgument("revision", "is below 0")
    return revision


def _version(version: int) -> int:
    if version < 1:
        raise InvalidArgument("version", "is missing: name the version that you read")
    return version
