"""`tenantry docs`: a tenant's documents."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from tenantry.api.retrieval.v1 import document_service_pb2 as pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.cli.connection import Connection, fail, with_refusals
from tenantry.cli.options import Address, Key, Tenant, connected
from tenantry.cli.output import console, is_terminal, note, show_all

app = typer.Typer(help="Documents of the caller's tenant.", no_args_is_help=True)
SUFFIXES = {".md": pb.FORMAT_MARKDOWN, ".markdown": pb.FORMAT_MARKDOWN, ".txt": pb.FORMAT_TEXT}
MAX_DOCUMENT_BYTES = 3 * 1024 * 1024
_UPLOAD_S = 600.0


@app.command("add")
@with_refusals
def add(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of .md and .txt files.")],
    collection: Annotated[str, typer.Option(help="The collection they go to.")] = "",
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Store documents. One that has not changed since it was stored costs nothing."""
    files = _files(paths)
    connection = connected(address, key, tenant)
    counts: dict[str, int] = dict.fromkeys(("created", "updated", "unchanged", "refused"), 0)
    with Progress(console=console, disable=not is_terminal()) as progress:
        task = progress.add_task("Storing", total=len(files))
        for answer in upload(connection, files, collection, None):
            outcome = pb.UpsertOutcome.Name(answer.outcome).removeprefix("UPSERT_OUTCOME_").lower()
            counts[outcome] += 1
            progress.advance(task)
            if outcome == "refused":
                progress.console.print(f"[red]{answer.document}[/red]: {answer.field} {answer.description}")
    note(**counts)
    if counts["refused"]:
        raise typer.Exit(1)


@app.command("list")
@with_refusals
def list_documents(
    collection: Annotated[str, typer.Option(help="Of this collection alone.")] = "",
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """List documents."""
    connection = connected(address, key, tenant)
    request = pb.ListDocumentsRequest(collection=collection)
    documents = connection.pages(DocumentServiceStub, "ListDocuments", request, "documents")
    show_all(documents, ("collection", "document", "title", "passages", "size_bytes", "update_time"))


@app.command("delete")
@with_refusals
def delete(
    document: Annotated[str, typer.Argument(help="Its id.")],
    collection: Annotated[str, typer.Option(help="Its collection.")] = "",
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Delete one document."""
    request = pb.DeleteDocumentRequest(collection=collection, document=document)
    answer = connected(address, key, tenant).call(DocumentServiceStub, "DeleteDocument", request)
    if not answer.deleted_now:
        fail(f"there is no document {document}", "see `tenantry docs list`")


@app.command("search")
@with_refusals
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option(help="How many passages.")] = 5,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Search passages."""
    request = pb.SearchPassagesRequest(query=query, limit=limit)
    answer = connected(address, key, tenant).call(DocumentServiceStub, "SearchPassages", request)
    show_all(answer.passages, ("document", "heading", "score", "text"))


def upload(connection: Connection, files: Sequence[Path], collection: str, root: Path | None) -> Iterator[Any]:
    """Sends the files one after the other and yields the answer to each; ids are their paths below `root`."""
    requests = (
        pb.UpsertDocumentsRequest(
            collection=collection,
            document=str(path.relative_to(root)) if root else path.name,
            format=SUFFIXES.get(path.suffix, pb.FORMAT_TEXT),
            text=path.read_bytes(),
        )
        for path in files
    )
    return connection.call(DocumentServiceStub, "UpsertDocuments", requests, timeout_s=_UPLOAD_S)


def _files(paths: Sequence[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES)
        elif path.is_file():
            found.append(path)
        else:
            fail(f"there is no file {path}", "check the path")
    for path in found:
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            fail(f"{path} is larger than a document may be (3 MiB)", "split it")
    return found
