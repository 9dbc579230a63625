"""`tenantry prompt`: a tenant's prompts."""

from pathlib import Path
from typing import Annotated

import typer

from tenantry.api.prompts.v1 import prompt_service_pb2 as pb
from tenantry.api.prompts.v1.prompt_service_pb2_grpc import PromptServiceStub
from tenantry.cli.connection import Connection
from tenantry.cli.options import Address, Key, Tenant, Variables, connected, connected_tenant, variables
from tenantry.cli.output import show, show_all

app = typer.Typer(help="Prompts and their revisions.", no_args_is_help=True, add_completion=False)
User = Annotated[Path, typer.Option(exists=True, dir_okay=False, help="File with the user message's template.")]
NewUser = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="File with the user message's.")]
System = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="File with the system message's.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="The most tokens of an answer.")]
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
    max_tokens: MaxTokens = None,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Make a prompt from files."""
    source = _source(pb.PromptSource(), user, system, schema, max_tokens)
    request = pb.CreatePromptRequest(tenant=tenant or "", prompt=prompt, source=source)
    show(connected(address, key, tenant).call(PromptServiceStub, "CreatePrompt", request).prompt)


@app.command("update")
def update(
    prompt: str,
    user: NewUser = None,
    system: System = None,
    schema: Schema = None,
    max_tokens: MaxTokens = None,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Add a revision and put it into production. What is not given stays as it is in production."""
    connection = connected(address, key, tenant)
    current = _get(connection, prompt, 0, tenant)
    source = _source(current.revision.source, user, system, schema, max_tokens)
    version = current.prompt.version
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


@app.command("render")
def render(
    prompt: Annotated[str, typer.Argument(help="The prompt; `answer` unless given.")] = "",
    var: Variables = None,
    revision: int = 0,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Show what a prompt makes of variables, as a model would get it."""
    request = pb.RenderPromptRequest(prompt=prompt, revision=revision, variables=variables(var))
    show(connected_tenant(address, key, tenant).call(PromptServiceStub, "RenderPrompt", request))


def _get(connection: Connection, prompt: str, revision: int, tenant: str | None) -> pb.GetPromptResponse:
    request = pb.GetPromptRequest(tenant=tenant or "", prompt=prompt, revision=revision)
    return connection.call(PromptServiceStub, "GetPrompt", request)


def _source(
    source: pb.PromptSource, user: Path | None, system: Path | None, schema: Path | None, max_tokens: int | None
) -> pb.PromptSource:
    """`source` with what was given in place of its own."""
    changed = pb.PromptSource()
    changed.CopyFrom(source)
    for field, path in (("user", user), ("system", system), ("output_schema", schema)):
        if path is not None:
            setattr(changed, field, path.read_text("utf-8"))
    if max_tokens is not None:
        changed.max_output_tokens = max_tokens
    return changed
