"""Who is at the other end of a call: the service that its certificate names, as SPIFFE's X.509-SVID has it.

https://github.com/spiffe/spiffe/blob/main/standards/X509-SVID.md, section 2: the name is a URI among the certificate's
subject alternative names, and there is exactly one. The handshake has verified the certificate by the mesh's CA.
"""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from cryptography.x509 import load_pem_x509_certificate

from tenantry.kit.errors import Reason, Unauthenticated

_SERVICE = re.compile(rb"spiffe://tenantry/service/([a-z][a-z0-9-]{0,62})")
_TRANSPORT = "transport_security_type"
_URI = "peer_uri"
_PEM = "x509_pem_cert"

# Who looks whether services are well. It is no service: it may connect and ask for health, and no RPC of ours admits it.
PROBE = "probe"

AuthContext = Mapping[str, Iterable[bytes]]


def spiffe_id(name: str) -> str:
    """The name in a certificate."""
    return f"spiffe://tenantry/{PROBE}" if name == PROBE else f"spiffe://tenantry/service/{name}"


def host_name(service: str) -> str:
    """The DNS name beside it. A listener of several services chooses its certificate by it, and gRPC's clients check it."""
    return f"{service}.tenantry.internal"


def in_process(service: str) -> AuthContext:
    """What a call from a service of the same process says."""
    return {_TRANSPORT: (b"inprocess",), _URI: (spiffe_id(service).encode(),)}


def certified(context: AuthContext, now: float) -> str | None:
    """The service that the peer was verified to be; None on a connection without certificates, where a token may say it.

    Unauthenticated for a certificate that names no service or more than one, or has ended by `now`, in Unix seconds.
    """
    if next(iter(context.get(_TRANSPORT, ())), b"insecure") == b"insecure":
        return None
    names = [_SERVICE.fullmatch(name) for name in context.get(_URI, ())]
    if len(names) != 1 or names[0] is None:
        raise Unauthenticated(Reason.SERVICE_IDENTITY_INVALID, "the certificate does not name one service of the mesh")
    # The handshake looked at the end, but connections live on, and a resumed session has no certificate looked at again.
    if any(_ends_at(pem) <= now for pem in context.get(_PEM, ())):
        raise Unauthenticated(Reason.SERVICE_IDENTITY_INVALID, "the certificate has ended")
    return names[0][1].decode()


@lru_cache(256)
def _ends_at(pem: bytes) -> float:
    return load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
