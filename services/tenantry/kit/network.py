"""Channels and listeners between processes: their options, and several connections to one address."""

import asyncio
import itertools
from collections.abc import Coroutine
from typing import Any
from urllib.parse import unquote

import grpc
from grpc import aio

# Up to this size a message that is too large is refused by us, with a reason and a sentence; above it by gRPC.
WIRE_BYTES = 40 * 1024 * 1024
METADATA_BYTES = 16 * 1024

_COMMON: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", WIRE_BYTES),
    ("grpc.max_send_message_length", WIRE_BYTES),
    ("grpc.max_metadata_size", METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * METADATA_BYTES),
    # Nothing is packed: gRPC holds the limit of length against what it has unpacked already, a thousand times as much perhaps.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]
# A server that is back is found again within two seconds; gRPC's own wait grows to two minutes.
RECONNECT_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]
CLIENT_OPTIONS: list[tuple[str, Any]] = [
    *_COMMON,
    *RECONNECT_OPTIONS,
    ("grpc.enable_retries", 0),  # kit.retry knows which RPCs may be sent again.
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
]
SERVER_OPTIONS: list[tuple[str, Any]] = [
    *_COMMON,
    # What a stream may send before anybody reads it. By itself gRPC lets that grow with the line's speed, for strangers too.
    ("grpc.http2.lookahead_bytes", 1024 * 1024),
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
]

# Inside the mesh many calls may come in one instant, as when thousands wait for their turn in the fair queue. By itself gRPC
# cancels calls at random from the thousandth on that nobody has looked at; here each is looked at, and refused with a reason.
MESH_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.server.max_pending_requests", 12_000),
    ("grpc.server.max_pending_requests_hard_limit", 16_000),
]


def peer_address(peer: str) -> str:
    """The IP address in gRPC's word for a peer, such as `ipv4:192.0.2.1:50051` or `ipv6:%5B2001:db8::1%5D:50051`; "" for a
    peer without one."""
    kind, _, place = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return ""
    return place.rpartition(":")[0].strip("[]").partition("%")[0]


def connect(address: str, connections: int = 1) -> aio.Channel:
    """A channel to `host:port`. Calls take turns over its connections, so that workers behind a port share them."""
    if connections == 1:
        return aio.insecure_channel(address, options=CLIENT_OPTIONS)
    own = [*CLIENT_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    return FanChannel([aio.insecure_channel(address, options=own) for _ in range(connections)])


class FanChannel(aio.Channel):
    """Several channels that take calls in turn."""

    def __init__(self, channels: list[aio.Channel]) -> None:
        self._channels = channels

    def _fan(self, shape: str, method: str, encode: Any, decode: Any) -> Any:
        turns = itertools.cycle([getattr(channel, shape)(method, encode, decode) for channel in self._channels])

        def start(*args: Any, **kwargs: Any) -> Any:
            return next(turns)(*args, **kwargs)

        return start

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return self._fan("unary_unary", method, request_serializer, response_deserializer)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return self._fan("unary_stream", method, request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return self._fan("stream_unary", method, request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return self._fan("stream_stream", method, request_serializer, response_deserializer)

    async def __aenter__(self) -> "FanChannel":
        return self

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        await self.close()

    async def close(self, grace: float | None = None) -> None:
        for channel in self._channels:
            await channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._channels[0].get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._channels[0].wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        for channel in self._channels:
            await channel.channel_ready()


class PeerStatus:
    """The status that the peer sent, for a call that streams requests.

    When a status arrives while a request is being written, grpc.aio reports INTERNAL "Internal error from Core", and in
    one order of events it keeps that for good. This notes the peer's status when it comes.
    """

    CORE_DETAILS = "Internal error from Core"
    WAIT_S = 1.0

    def __init__(self, call: Any) -> None:
        self._noted: aio.AioRpcError | None = None
        self._arrived = asyncio.Event()
        call.add_done_callback(self._note)

    async def behind(self, failure: aio.AioRpcError) -> aio.AioRpcError:
        """The failure itself, or the one that it hides."""
        if failure.code() is not grpc.StatusCode.INTERNAL or failure.details() != self.CORE_DETAILS:
            return failure
        try:
            async with asyncio.timeout(self.WAIT_S):
                await self._arrived.wait()
        except TimeoutError:
            return failure
        return self._noted or failure

    def _note(self, call: Any) -> None:
        details = _now(call.details())
        if self._noted is None and details != self.CORE_DETAILS:
            self._noted = aio.AioRpcError(
                _now(call.code()), aio.Metadata(), _now(call.trailing_metadata()), details=details
            )
            self._arrived.set()


def _now(answer: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine that need not wait returns."""
    try:
        answer.send(None)
    except StopIteration as done:
        return done.value
    answer.close()
    return None
