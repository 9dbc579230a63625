"""A service's own certificate: read from the folder of TENANTRY_TLS, and read again when its files are replaced.

`NAME.pem` is the certificate and what is between it and the CA, `NAME.key` its key, `ca.pem` the CAs that peers are believed
by: old and new while a CA is replaced.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tenantry.kit.clock import Clock
from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.peer import spiffe_id

log = logging.getLogger(__name__)

AUTHORITIES = "ca.pem"
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM texts: the certificate with its chain, its key, and the CAs that peers are believed by."""

    chain: bytes
    key: bytes
    authorities: bytes


Shown = Callable[[], Certificate]


def read(folder: Path, name: str) -> Certificate:
    """The certificate of the service `name`. FailedPrecondition says which file can't be read, or why it does not serve."""
    try:
        found = Certificate(*((folder / file).read_bytes() for file in (f"{name}.pem", f"{name}.key", AUTHORITIES)))
    except OSError as error:
        raise _unfit(
            f"{error.filename} can't be read; `tenantry certificates` makes those of a development CA"
        ) from None
    fault = _fault(found, name)
    if fault:
        raise _unfit(f"the certificate {folder / f'{name}.pem'} {fault}")
    return found


def ends_at(chain: bytes) -> datetime:
    """When the certificate that a chain begins with ends."""
    return x509.load_pem_x509_certificate(chain).not_valid_after_utc


class CertificateFiles:
    """The current certificate of one service."""

    def __init__(self, folder: Path, name: str, clock: Clock) -> None:
        self._folder = folder
        self._name = name
        self._clock = clock
        self._current = read(folder, name)

    def current(self) -> Certificate:
        """The certificate to show; the same object until the files are replaced."""
        return self._current

    async def keep_fresh(self) -> None:
        """Looks at the files each second, for ever. While they don't fit, as between two of them, the old one serves."""
        said = ""
        while True:
            await self._clock.sleep(_LOOK_EVERY_S)
            try:
                found = await asyncio.to_thread(read, self._folder, self._name)
            except FailedPrecondition as error:
                if error.message != said:
                    said = error.message
                    log.warning("the old certificate goes on: %s", said)
                continue
            said = ""
            if found != self._current:
                self._current = found
                log.info("the certificate of %s was replaced; it ends at %s", self._name, ends_at(found.chain))


def _fault(found: Certificate, name: str) -> str:
    try:
        own = x509.load_pem_x509_certificate(found.chain)
        key = load_pem_private_key(found.key, None)
        x509.load_pem_x509_certificates(found.authorities)
        names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return "its key or the CA is no PEM file, or it has no names"
    if key.public_key() != own.public_key():
        return "is not of the key beside it"
    if names.get_values_for_type(x509.UniformResourceIdentifier) != [spiffe_id(name)]:
        return f"is not of {spiffe_id(name)} alone"
    if own.not_valid_after_utc <= datetime.now(UTC):
        return "has ended; `tenantry certificates` renews those of a development CA"
    return ""


def _unfit(sentence: str) -> FailedPrecondition:
    return FailedPrecondition(Reason.STORE_UNFIT, sentence)
