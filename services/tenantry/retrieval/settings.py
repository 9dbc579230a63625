"""What the environment sets for retrieval."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from tenantry.kit import settings as mesh
from tenantry.retrieval.limits import MOST_BYTES, MOST_DOCUMENTS, Limits


@dataclass(frozen=True, slots=True)
class Settings:
    """Documents are in files of `directory`, or in the Weaviate at `weaviate_url` if that is set, with `sql_url` for what
    must be exact beside it; `weaviate_grpc` is its gRPC address, `weaviate_key` its API key if it wants one."""

    directory: Path
    sql_url: str
    weaviate_url: str = ""
    weaviate_grpc: str = ""
    weaviate_key: str = field(default="", repr=False)
    open_files: int = 64
    limits: Limits = Limits()


def from_environment() -> Settings:
    """The settings of this process."""
    environ = os.environ
    return Settings(
        directory=mesh.state_directory() / "documents",
        sql_url=mesh.sql_url("retrieval"),
        weaviate_url=environ.get("TENANTRY_WEAVIATE_URL", ""),
        weaviate_grpc=environ.get("TENANTRY_WEAVIATE_GRPC", ""),
        weaviate_key=environ.get("TENANTRY_WEAVIATE_KEY", ""),
        open_files=int(mesh.number("TENANTRY_RETRIEVAL_OPEN_FILES", 64)),
        limits=Limits(
            documents=int(mesh.number("TENANTRY_RETRIEVAL_DOCUMENTS", MOST_DOCUMENTS)),
            bytes=int(mesh.number("TENANTRY_RETRIEVAL_BYTES", MOST_BYTES)),
        ),
    )
