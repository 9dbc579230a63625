"""Wires models: its database, its memory, its providers, its services."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

from tenantry.api.models.v1.generation_service_pb2_grpc import add_GenerationServiceServicer_to_server
from tenantry.api.models.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from tenantry.kit import audit_outbox, lifecycle
from tenantry.kit.audit_mesh import deliver_by
from tenantry.kit.changes import Poller
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.key_file import read_or_make
from tenantry.kit.memory import Memory
from tenantry.kit.server import Room
from tenantry.kit.sql import Database, migrate
from tenantry.models import provider_anthropic, provider_openai
from tenantry.models.attempts import Attempts
from tenantry.models.breaker import Circuits
from tenantry.models.clients import Clients
from tenantry.models.generating import Generating
from tenantry.models.generation import AnswerProvider
from tenantry.models.holdings import Reaches, load_holdings
from tenantry.models.model import Holdings, Provider
from tenantry.models.provider_anthropic import AnthropicProvider
from tenantry.models.provider_extractive import ExtractiveProvider
from tenantry.models.provider_openai import OpenAIProvider
from tenantry.models.registry import Registry
from tenantry.models.sealing import Seal
from tenantry.models.service.generation import GenerationService
from tenantry.models.service.models import ModelService
from tenantry.models.settings import Settings
from tenantry.models.slots_mesh import MeshSlots
from tenantry.models.store_sql import KIND, SqlModelStore

# An SDK takes seconds to import: at start where a model needs it, else with the first call of one that was registered since.
_LOAD: dict[Provider, Callable[[], None]] = {
    Provider.EXTRACTIVE: lambda: None,
    Provider.OPENAI: provider_openai.load,
    Provider.ANTHROPIC: provider_anthropic.load,
}


@asynccontextmanager
async def build(settings: Settings, mesh: Mesh) -> AsyncGenerator[Room]:
    """The room, while the block runs."""
    clock = SystemClock()
    seal = Seal(await asyncio.to_thread(read_or_make, settings.key_file))
    database = Database(settings.sql_url, "models")
    openai = Clients(partial(provider_openai.make_client, loopback=settings.loopback), settings.clients)
    anthropic = Clients(partial(provider_anthropic.make_client, loopback=settings.loopback), settings.clients)
    slots = MeshSlots(mesh.channel("quota"), clock)
    try:
        await migrate(database, "tenantry.models.migrations")
        store = SqlModelStore(database)
        for provider in await store.providers():
            await asyncio.to_thread(_LOAD[provider])
        holdings: Memory[Holdings] = Memory(KIND, lambda key: load_holdings(store, key), settings.remembered)
        reaches = Reaches(holdings)
        registry = Registry(store, reaches, seal, loopback=settings.loopback)
        providers: dict[Provider, AnswerProvider] = {
            Provider.EXTRACTIVE: ExtractiveProvider(),
            Provider.OPENAI: OpenAIProvider(openai),
            Provider.ANTHROPIC: AnthropicProvider(anthropic),
        }
        attempts = Attempts(providers, Circuits(), slots, clock)
        yield Room(
            "models",
            [
                (add_ModelServiceServicer_to_server, ModelService(registry, store)),
                (
                    add_GenerationServiceServicer_to_server,
                    GenerationService(Generating(reaches, seal, attempts, clock)),
                ),
                (lifecycle.add_to_server, lifecycle.LifecycleService(registry.provision, registry.deprovision)),
            ],
            [Poller(database, [holdings]).run, audit_outbox.Sender(database, deliver_by(mesh), clock).run],
        )
    finally:
        await slots.close()
        await openai.close()
        await anthropic.close()
        await database.close()
