"""`tenantry prompt`: a tenant's prompts."""

from pathlib import Path
from typing import Annotated

import typer

from tenantry.api.prompts.v1 import prompt_service_pb2 as pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.cli.connection import Connection
from tenantry.cli.options import Address, Key, Tenant, connected
from tenantry.cli.output import show, show_all

app = typer.Typer(help="Prompts and their revisions.", no_args_is_help=True, add_completion=False)
User = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="File with the user message's template.")]
System = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="File with the system message's.")]
Schema = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="File with the answer's JSON Schema.")]


@app.command("list")
def list_prompts(address: Address = None, key: Key = None, tenant: Tenant = None) -> None:
    """List prompts."""
    connection = connected(address, key, tenant)
    found = connection.pages(PromptServiceStub, "ListPrompts", pb.ListPromptsRequest(tenant=tenant or ""), "prompts")
    show_all(found, ("prompt", "production_revision", "latest_revision", "version", "update_time"))


@app.command("show")
def show_prompt(
    prompt: str, revision: int = 0, address: Address = None, key: Key = None, tenant: Tenant = None
) -> None:
    """Show a prompt and the revision in production, or another."""
    show(_get(connected(address, key, tenant), prompt, revision, tenant))


@app.command("create")
def create(
    prompt: str,
    user: User,
    system: System = None,
    schema: Schema = None,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Make a prompt from files."""
    request = pb.CreatePromptRequest(tenant=tenant or "", prompt=prompt, source=_source(user, system, schema))
    show(connected(address, key, tenant).call(PromptServiceStub, "CreatePrompt", request).prompt)


@app.command("update")
def update(
    prompt: str,
    user: User,
    system: System = None,
    schema: Schema = None,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Add a revision from files, and put it into production."""
    connection = connected(address, key, tenant)
    version = _get(connection, prompt, 0, tenant).prompt.version
    source = _source(user, system, schema)
    request = pb.UpdatePromptRequest(tenant=tenant or "", prompt=prompt, source=source, version=version)
    show(connection.call(PromptServiceStub, "UpdatePrompt", request).prompt)


@app.command("rollback")
def rollback(prompt: str, revision: int, address: Address = None, key: Key = None, tenant: Tenant = None) -> None:
    """Put an earlier revision into production."""
    connection = connected(address, key, tenant)
    version = _get(connection, prompt, 0, tenant).prompt.version
    request = pb.RollbackPromptRequest(tenant=tenant or "", prompt=prompt, revision=revision, version=version)
    show(connection.call(PromptServiceStub, "RollbackPrompt", request).prompt)


@app.command("delete")
def delete(prompt: str, address: Address = None, key: Key = None, tenant: Tenant = None) -> None:
    """Delete a prompt with its revisions."""
    connection = connected(address, key, tenant)
    version = _get(connection, prompt, 0, tenant).prompt.version
    request = pb.DeletePromptRequest(tenant=tenant or "", prompt=prompt, version=version)
    connection.call(PromptServiceStub, "DeletePrompt", request)


def _get(connection: Connection, prompt: str, revision: int, tenant: str | None) -> pb.GetPromptResponse:
    request = pb.GetPromptRequest(tenant=tenant or "", prompt=prompt, revision=revision)
    return connection.call(PromptServiceStub, "GetPrompt", request)


def _source(user: Path, system: Path | None, schema: Path | None) -> pb.PromptSource:
    return pb.PromptSource(
        user=user.read_text(),
        system=system.read_text() if system else "",
        output_schema=schema.read_text() if schema else "",
    )
