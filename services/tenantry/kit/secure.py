"""Mutual TLS between processes: a listener's credentials, and channels, that show the newest certificates.

Nothing here reads a file: handshakes and calls ask `kit.certificate` for what it holds. A connection that stands goes on
with what it was made with, for as long as `LISTENER_OPTIONS` let it.
"""

from collections.abc import Sequence
from typing import Any

import grpc
from grpc import aio

from tenantry.kit import peer
from tenantry.kit.certificate import Certificate, Shown
from tenantry.kit.network import CLIENT_OPTIONS, FanChannel

# Who stays connected shows a certificate again after ten minutes: a CA that was taken away ends by then, and the streams
# that run then after ten more, the longest permitted request.
LISTENER_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_connection_age_ms", 600_000),
    ("grpc.max_connection_age_grace_ms", 600_000),
]


def listener_credentials(certificates: Sequence[Shown]) -> grpc.ServerCredentials:
    """Credentials that demand a certificate of each client, and show the one that the client asks for by its host name
    (SNI), else the first."""
    shown = [one() for one in certificates]

    def newest() -> Any:
        # Asked before each handshake, by one thread of gRPC at a time.
        nonlocal shown
        now = [one() for one in certificates]
        if all(new is old for new, old in zip(now, shown, strict=True)):
            return None
        shown = now
        return _configuration(now)

    return grpc.dynamic_ssl_server_credentials(_configuration(shown), newest, True)


def _configuration(shown: Sequence[Certificate]) -> Any:
    authorities = b"\n".join(dict.fromkeys(one.authorities for one in shown))
    return grpc.ssl_server_certificate_configuration([(one.key, one.chain) for one in shown], authorities)


class SecureChannel(FanChannel):
    """A channel to `service` at `host:port` that is made again when the certificate it shows was replaced. Calls that run
    on the older one end there."""

    def __init__(self, address: str, service: str, shown: Shown) -> None:
        self._address = address
        self._service = service
        self._source = shown
        self._shown = shown()
        super().__init__([self._open()])

    def _open(self) -> aio.Channel:
        own = [
            *CLIENT_OPTIONS,
            ("grpc.ssl_target_name_override", peer.host_name(self._service)),
            # Connections with another certificate, of a service in the same process too, are not for us.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        shown = self._shown
        return aio.secure_channel(
            self._address, grpc.ssl_channel_credentials(shown.authorities, shown.key, shown.chain), options=own
        )

    def _newest(self) -> aio.Channel:
        if (newest := self._source()) is not self._shown:
            self._shown = newest
            # Not closed, which would cancel its calls: gRPC ends its connection with the last of them.
            self._channels = [self._open()]
        return self._channels[0]

    def _fan(self, shape: str, method: str, encode: Any, decode: Any) -> Any:
        channel = self._channels[0]
        bound = getattr(channel, shape)(method, encode, decode)

        def start(*args: Any, **kwargs: Any) -> Any:
            nonlocal channel, bound
            if (newest := self._newest()) is not channel:
                channel, bound = newest, getattr(newest, shape)(method, encode, decode)
            return bound(*args, **kwargs)

        return start
