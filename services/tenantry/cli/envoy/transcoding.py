"""JSON over HTTP for clients without gRPC: `POST /package.Service/Method`, the message as JSON, by Envoy's transcoder."""

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import error_details_pb2, status_pb2  # pyright: ignore[reportMissingTypeStubs]

from tenantry.cli.envoy.proto import Message, typed
from tenantry.cli.envoy.settings import Settings
from tenantry.kit import contracts


def transcoder(settings: Settings) -> Message:
    """The filter that makes gRPC of it. Errors become a google.rpc.Status as JSON, with their details."""
    return typed(
        "envoy.filters.http.grpc_json_transcoder",
        "filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor=str(settings.descriptors),
        services=sorted({_service(path) for path in contracts.paths()}),
        auto_mapping=True,
        convert_grpc_status=True,
        print_options={"preserve_proto_field_names": True},
        request_validation_options={"reject_unknown_method": True, "reject_unknown_query_parameters": True},
        max_request_body_size=settings.bounds.json_bytes,
        max_response_body_size=settings.bounds.json_bytes,
    )


def descriptors() -> bytes:
    """The contracts that clients may call, and the details of refusals, with all that they import: a FileDescriptorSet."""
    pool = descriptor_pool.Default()
    files = {pool.FindServiceByName(_service(path)).file.name for path in contracts.paths()}
    files |= {module.DESCRIPTOR.name for module in (error_details_pb2, status_pb2)}
    found: dict[str, FileDescriptor] = {}
    for name in sorted(files):
        _gather(pool.FindFileByName(name), found)
    kept = FileDescriptorSet()
    for file in found.values():
        file.CopyToProto(kept.file.add())
    return kept.SerializeToString(deterministic=True)


def _gather(file: FileDescriptor, found: dict[str, FileDescriptor]) -> None:
    """What a file imports stands before it."""
    for imported in file.dependencies:
        if imported.name not in found:
            _gather(imported, found)
    found.setdefault(file.name, file)


def _service(path: str) -> str:
    return path[1:].partition("/")[0]
