"""A service that is healthy, takes every call, and ends none: it answers nothing, or begins to and says no more."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

_CALLS = 16


class _Endless(grpc.GenericRpcHandler):
    """`begins` are the paths of RPCs whose answer begins."""

    def __init__(self, begins: tuple[str, ...]) -> None:
        self._begins = begins

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        begins = handler_call_details.method in self._begins

        def take(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
            ended = threading.Event()
            if context.add_callback(ended.set):
                if begins:
                    yield b""
                ended.wait()

        return grpc.stream_stream_rpc_method_handler(take)


@contextmanager
def endless(service: str, *begins: str) -> Iterator[str]:
    """The address of a service that calls itself so, until the end of the block."""
    server = grpc.server(ThreadPoolExecutor(_CALLS), options=[("grpc.so_reuseport", 0)])
    servicer = health.HealthServicer()
    servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    server.add_generic_rpc_handlers([_Endless(begins)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()
