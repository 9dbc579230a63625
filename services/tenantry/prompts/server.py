"""Wires prompts: its database, its memory, its renderer, its services."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from tenantry.api.prompts.v1.prompt_service_pb2_grpc import add_PromptServiceServicer_to_server
from tenantry.kit import audit_outbox, lifecycle
from tenantry.kit.audit_mesh import deliver_by
from tenantry.kit.changes import Poller
from tenantry.kit.channel import Mesh
from tenantry.kit.clock import SystemClock
from tenantry.kit.memory import Memory
from tenantry.kit.server import Room
from tenantry.kit.sql import Database, migrate
from tenantry.prompts.prompts import Production, Prompts, load_production
from tenantry.prompts.rendering import Renderer
from tenantry.prompts.service import PromptService
from tenantry.prompts.settings import Settings
from tenantry.prompts.store_sql import KIND, SqlPromptStore


@asynccontextmanager
async def build(settings: Settings, mesh: Mesh) -> AsyncGenerator[Room]:
    """The room, while the block runs."""
    database = Database(settings.sql_url, "prompts")
    renderer = Renderer()
    try:
        await migrate(database, "tenantry.prompts.migrations")
        store = SqlPromptStore(database, SystemClock())
        production: Memory[Production] = Memory(KIND, lambda key: load_production(store, key), settings.remembered)
        poller = Poller(database, [production])
        prompts = Prompts(store, production, renderer)
        yield Room(
            "prompts",
            [
                (add_PromptServiceServicer_to_server, PromptService(prompts, store)),
                (lifecycle.add_to_server, lifecycle.LifecycleService(prompts.provision, prompts.deprovision)),
            ],
            [poller.run, audit_outbox.Sender(database, deliver_by(mesh), SystemClock()).run],
        )
    finally:
        await renderer.close()
        await database.close()
