"""The channels of one hosted service to the others: to a room of this process or over the network, one code path.

`Mesh.channel(name)` is for generated stubs. A call made through it carries the current caller's assertion, this
service's token, the request id, the trace and the deadline of the call being served, and fails with `kit.errors`.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

import grpc
from grpc import aio

from tenantry.kit import network, peer
from tenantry.kit.certificate import Shown
from tenantry.kit.clock import Clock
from tenantry.kit.errors import Reason, Unavailable
from tenantry.kit.inprocess import NOBODY, Handlers, InProcessChannel
from tenantry.kit.outgoing import Departures, StreamingRpc, UnaryRpc
from tenantry.kit.retry import Budget
from tenantry.kit.secure import SecureChannel


class Rooms(Protocol):
    """What a channel asks of the process's registry."""

    def hosts(self, name: str) -> bool:
        """Whether this process hosts the room."""
        ...

    def handlers(self, name: str) -> Handlers | None:
        """The handlers of an open room."""
        ...


class Addresses(Protocol):
    """What a channel asks of the settings."""

    @property
    def addresses(self) -> Any:
        """`host:port` by service name."""
        ...

    @property
    def max_message_bytes(self) -> int:
        """The largest message that is sent."""
        ...


class Mesh:
    """The channels of one hosted service. `token_source` gives its current service token, empty if it has none;
    `certificate` what it shows instead where the mesh has TLS."""

    def __init__(
        self,
        service: str,
        settings: Addresses,
        registry: Rooms,
        token_source: Callable[[], str],
        clock: Clock,
        *,
        connections: int = 1,
        certificate: Shown | None = None,
    ) -> None:
        self.service = service
        self._settings = settings
        self._registry = registry
        # This service's current token, empty if it has none.
        self.token = token_source
        self._departures = Departures(service, token_source)
        self._clock = clock
        self._connections = connections
        self.certificate = certificate
        self._transports: dict[str, aio.Channel] = {}
        self._channels: dict[str, MeshChannel] = {}

    def channel(self, name: str) -> aio.Channel:
        """The channel to a service, for its stubs. Nothing is looked up or connected before the first call."""
        if name not in self._channels:
            self._channels[name] = MeshChannel(self, name)
        return self._channels[name]

    def transport(self, name: str) -> aio.Channel:
        """What is under the channel: it adds nothing and fails as gRPC does, and takes bytes without serializers."""
        transport = self._transports.get(name)
        if transport is None:
            transport = self._transports[name] = self._connect(name)
        return transport

    async def close(self) -> None:
        """Closes the connections."""
        transports = list(self._transports.values())
        self._transports.clear()
        for transport in transports:
            await transport.close()

    def _connect(self, name: str) -> aio.Channel:
        if self._registry.hosts(name):
            who = peer.in_process(self.service) if self.certificate is not None else NOBODY
            return InProcessChannel(lambda: self._registry.handlers(name), who)
        address = self._settings.addresses.get(name)
        if not address:
            raise Unavailable(Reason.SERVICE_UNAVAILABLE, f"the service `{name}` has no address", service=name)
        if self.certificate is not None:
            own: list[aio.Channel] = [SecureChannel(address, name, self.certificate) for _ in range(self._connections)]
            return own[0] if len(own) == 1 else network.FanChannel(own)
        return network.connect(address, self._connections)

    def unary(self, name: str, path: str, encode: Any, decode: Any, budget: Budget) -> UnaryRpc:
        """A unary RPC, bound to its transport at the first call."""
        return UnaryRpc(
            self._departures,
            name,
            path,
            lambda: cast(Any, self.transport(name)).unary_unary(path),
            encode,
            decode,
            self._settings.max_message_bytes,
            budget,
            self._clock,
        )

    def streaming(self, name: str, path: str, shape: str, encode: Any, decode: Any) -> StreamingRpc:
        """An RPC that streams in the way that `shape` says."""
        return StreamingRpc(
            self._departures,
            name,
            path,
            lambda: getattr(self.transport(name), shape)(path),
            shape,
            encode,
            decode,
            self._settings.max_message_bytes,
        )


class MeshChannel(aio.Channel):
    """A channel to one service, for generated stubs."""

    def __init__(self, mesh: Mesh, name: str) -> None:
        self._mesh = mesh
        self._name = name
        self._budget = Budget()

    def unary_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return self._mesh.unary(self._name, method, request_serializer, response_deserializer, self._budget)

    def unary_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return self._mesh.streaming(self._name, method, "unary_stream", request_serializer, response_deserializer)

    def stream_unary(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return self._mesh.streaming(self._name, method, "stream_unary", request_serializer, response_deserializer)

    def stream_stream(
        self,
        method: str,
        request_serializer: Any = None,
        response_deserializer: Any = None,
        _registered_method: Any = False,
    ) -> Any:
        return self._mesh.streaming(self._name, method, "stream_stream", request_serializer, response_deserializer)

    async def __aenter__(self) -> "MeshChannel":
        return self

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        return None

    async def close(self, grace: float | None = None) -> None:
        """The mesh owns the connections; `Mesh.close` closes them."""

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._mesh.transport(self._name).get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._mesh.transport(self._name).wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._mesh.transport(self._name).channel_ready()
