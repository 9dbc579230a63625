"""`tenantry docs`: a tenant's documents."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.text import Text

from tenantry.api.retrieval.v1 import document_service_pb2 as pb
from tenantry.api.retrieval.v1.document_service_pb2_grpc import DocumentServiceStub
from tenantry.cli.connection import Connection
from tenantry.cli.options import Address, Key, Tenant, connected_tenant
from tenantry.cli.output import as_dict, clean, console, is_terminal, note, show_all
from tenantry.cli.refusals import fail

app = typer.Typer(help="Documents of the caller's tenant.", no_args_is_help=True, add_completion=False)
SUFFIXES = {".md": pb.FORMAT_MARKDOWN, ".markdown": pb.FORMAT_MARKDOWN, ".txt": pb.FORMAT_TEXT}
MAX_DOCUMENT_BYTES = 3 * 1024 * 1024
_UPLOAD_S = 600.0


@dataclass(frozen=True, slots=True)
class File:
    """A file, and the id of the document that it becomes: its name, or its path below the folder that was named."""

    path: Path
    document: str


@app.command("add")
def add(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of .md and .txt files.")],
    collection: Annotated[str, typer.Option(help="The collection they go to.")] = "",
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Store documents. One that has not changed since it was stored costs nothing."""
    files = files_of(paths)
    connection = connected_tenant(address, key, tenant)
    counts: dict[str, int] = dict.fromkeys(("created", "updated", "unchanged", "refused"), 0)
    try:
        with Progress(console=console, disable=not is_terminal()) as progress:
            task = progress.add_task("Storing", total=len(files))
            for answer in upload(connection, files, collection):
                outcome = pb.UpsertOutcome.Name(answer.outcome).removeprefix("UPSERT_OUTCOME_").lower()
                counts[outcome] += 1
                progress.advance(task)
                if not is_terminal():
                    print(json.dumps(as_dict(answer)))
                elif outcome == "refused":
                    why = f": {answer.field} {answer.description}"
                    progress.console.print(Text.assemble((clean(answer.document), "red"), clean(why)))
    finally:
        # What was answered is stored, also when the stream broke.
        note(**counts)
    if counts["refused"]:
        raise typer.Exit(1)


@app.command("list")
def list_documents(
    collection: Annotated[str, typer.Option(help="Of this collection alone.")] = "",
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """List documents."""
    connection = connected_tenant(address, key, tenant)
    request = pb.ListDocumentsRequest(collection=collection)
    documents = connection.pages(DocumentServiceStub, "ListDocuments", request, "documents")
    show_all(documents, ("collection", "document", "title", "passages", "size_bytes", "update_time"))


@app.command("delete")
def delete(
    document: Annotated[str, typer.Argument(help="Its id.")],
    collection: Annotated[str, typer.Option(help="Its collection.")] = "",
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Delete one document."""
    request = pb.DeleteDocumentRequest(collection=collection, document=document)
    answer = connected_tenant(address, key, tenant).call(DocumentServiceStub, "DeleteDocument", request)
    if not answer.deleted_now:
        fail(f"there is no document {document}", "see `tenantry docs list`")


@app.command("search")
def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    limit: Annotated[int, typer.Option(min=1, max=50, help="How many passages.")] = 5,
    collection: Annotated[list[str] | None, typer.Option(help="Search this collection. May be repeated.")] = None,
    address: Address = None,
    key: Key = None,
    tenant: Tenant = None,
) -> None:
    """Search passages."""
    request = pb.SearchPassagesRequest(query=query, limit=limit, collections=collection or ())
    answer = connected_tenant(address, key, tenant).call(DocumentServiceStub, "SearchPassages", request)
    show_all(answer.passages, ("document", "heading", "score", "text"))


def upload(connection: Connection, files: Sequence[File], collection: str) -> Iterator[Any]:
    """Sends the files one after the other, each read when the mesh takes it, and yields the answer to each."""
    unread: list[OSError] = []

    def requests() -> Iterator[pb.UpsertDocumentsRequest]:
        for file in files:
            try:
                text = file.path.read_bytes()
            except OSError as error:
                unread.append(error)
                return
            form = SUFFIXES.get(file.path.suffix.lower(), pb.FORMAT_TEXT)
            yield pb.UpsertDocumentsRequest(collection=collection, document=file.document, format=form, text=text)

    yield from connection.call(DocumentServiceStub, "UpsertDocuments", requests(), timeout_s=_UPLOAD_S)
    if unread:
        raise unread[0]


def files_of(paths: Sequence[Path]) -> list[File]:
    """The files that are meant: those named, and those of known kinds below the folders named."""
    found: dict[str, File] = {}
    for path in paths:
        for file in _below(path):
            if file.path.stat().st_size > MAX_DOCUMENT_BYTES:
                fail(f"{file.path} is larger than a document may be (3 MiB)", "split it")
            other = found.setdefault(file.document, file)
            if other.path.resolve() != file.path.resolve():
                fail(
                    f"{other.path} and {file.path} would be one document, {file.document}",
                    "add them from their common folder",
                )
    if not found:
        fail(
            f"there are no {', '.join(SUFFIXES)} files in {', '.join(map(str, paths))}", "name a file or another folder"
        )
    return list(found.values())


def _below(path: Path) -> list[File]:
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
        return [File(file, file.relative_to(path).as_posix()) for file in inside]
    if not path.is_file():
        fail(f"there is no file {path}", "check the path")
    return [File(path, path.name)]
