"""The use cases of prompts: checks what authors write, keeps it, and renders it for the caller's tenant."""

import asyncio
from collections.abc import Mapping

from tenantry.kit.errors import InvalidArgument
from tenantry.kit.ids import check_name
from tenantry.kit.memory import Memory
from tenantry.kit.owner import Tenant
from tenantry.prompts.prompt import DEFAULT_PROMPT, DEFAULT_SOURCE, Prompt, Rendered, Revision, Source, key_of
from tenantry.prompts.rendering import Renderer
from tenantry.prompts.store import PromptStore
from tenantry.prompts.templates import check_variables, faults_of, is_plain, render_plain, with_defaults

# The number of the production revision and its source.
Production = tuple[int, Source]


class Prompts:
    """A tenant's prompts. `production` remembers the production revision of each by `key_of`."""

    def __init__(self, store: PromptStore, production: Memory[Production], renderer: Renderer) -> None:
        self._store = store
        self._production = production
        self._renderer = renderer

    async def create(self, tenant: Tenant, prompt: str, source: Source, author: str) -> Prompt:
        """Makes a prompt; `production` points at its revision 1."""
        check_name(prompt, "prompt")
        return self._changed(tenant, await self._store.create(tenant, prompt, await self._checked(source), author))

    async def update(self, tenant: Tenant, prompt: str, source: Source, author: str, version: int) -> Prompt:
        """Adds a revision, which `production` points at from now on."""
        check_name(prompt, "prompt")
        checked = await self._checked(source)
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
        self._production.drop(key_of(tenant, prompt))

    async def get(self, tenant: Tenant, prompt: str, revision: int) -> tuple[Prompt, Revision]:
        """A prompt and a revision, 0 for the one of `production`."""
        check_name(prompt, "prompt")
        return await self._store.get(tenant, prompt, _revision(revision))

    async def render(self, tenant: Tenant, prompt: str, revision: int, variables: Mapping[str, str]) -> Rendered:
        """Renders a revision, 0 for the one of `production`; an empty name is the default prompt."""
        name = check_name(prompt or DEFAULT_PROMPT, "prompt")
        check_variables(variables)
        if _revision(revision):
            number, source = revision, (await self._store.get(tenant, name, revision))[1].source
        else:
            number, source = await self._production.get(key_of(tenant, name))
        templates = (source.system, source.user)
        if all(is_plain(template) for template in templates):
            system, user = (render_plain(template, variables) for template in templates)
        else:
            system, user = await self._renderer.render(templates, variables)
        return Rendered(name, number, system, user, source)

    async def provision(self, tenant: Tenant, tier: str) -> str:
        """Begins to serve the tenant, with the default prompt."""
        made = await self._store.add_tenant(tenant, tier, DEFAULT_PROMPT, with_defaults(DEFAULT_SOURCE))
        return f"made the prompt {DEFAULT_PROMPT}" if made else "nothing to do"

    async def deprovision(self, tenant: Tenant) -> str:
        """Deletes all prompts of the tenant."""
        deleted = await self._store.remove_tenant(tenant)
        return "nothing to do" if deleted is None else f"deleted {deleted} prompts"

    async def _checked(self, source: Source) -> Source:
        # A hostile schema may take some milliseconds to refuse.
        wrong = await asyncio.to_thread(faults_of, source)
        refused = {field for field, _ in wrong}
        for field, template in (("source.system", source.system), ("source.user", source.user)):
            if field in refused or is_plain(template):
                continue
            fault = await self._renderer.fault_of(template)
            if fault is not None:
                wrong.append((field, fault))
        if wrong:
            raise InvalidArgument.many(wrong)
        return with_defaults(source)

    def _changed(self, tenant: Tenant, prompt: Prompt) -> Prompt:
        # This replica forgets at once, so that a writer sees its own write; the others with the change log.
        self._production.drop(key_of(tenant, prompt.prompt))
        return prompt


async def load_production(store: PromptStore, key: str) -> Production:
    """What the memory of production revisions loads for a key."""
    tenant_id, _, name = key.partition("/")
    prompt, revision = await store.get(Tenant("", tenant_id), name, 0)
    return prompt.production_revision, revision.source


def _revision(revision: int) -> int:
    if revision < 0:
        raise InvalidArgument("revision", "is below 0")
    return revision


def _version(version: int) -> int:
    if version < 1:
        raise InvalidArgument("version", "is missing: name the version that you read")
    return version
