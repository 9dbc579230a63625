"""`tenantry certificates`: a development CA, and a certificate of it for every service of the mesh."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_pem_x509_certificate

from tenantry.cli import settings
from tenantry.cli.development_ca import CERTIFICATE_DAYS, DevelopmentCa
from tenantry.cli.output import note
from tenantry.kit import settings as mesh
from tenantry.kit.access import EDGE
from tenantry.kit.certificate import AUTHORITIES, ends_at, read
from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.peer import PROBE, host_name, spiffe_id
from tenantry.kit.private_file import write_private

NAMES = (*mesh.SERVICES, EDGE, PROBE)
_RENEWED_BEFORE = timedelta(days=CERTIFICATE_DAYS / 3)


def certificates(
    renew: Annotated[bool, typer.Option("--renew", help="Make all of them anew, whenever they end.")] = False,
) -> None:
    """Make a development CA and a certificate for every service; those that end within 30 days are made anew."""
    folder = settings.tls_folder()
    made = issue(folder, renew=renew)
    note(
        folder=str(folder),
        made=", ".join(made) or "nothing: all were there",
        days=CERTIFICATE_DAYS,
        next=f"TENANTRY_TLS={folder} for every process, or `tenantry up --tls`; what runs takes them within seconds",
    )


def issue(folder: Path, *, renew: bool = False) -> list[str]:
    """Makes what is missing in the folder or ends soon, and gives the names of those that were made."""
    due = [name for name in NAMES if renew or _is_due(folder, name)]
    authority = _authority(folder) if due else None
    for name in due:
        assert authority is not None
        chain, key = authority.issue(spiffe_id(name), host_name(name))
        # Who reads between the two finds that they don't fit, and looks again.
        write_private(folder / f"{name}.key", key, replace=True)
        write_private(folder / f"{name}.pem", chain, replace=True)
    return due


def ends(folder: Path) -> Iterator[tuple[str, datetime | None]]:
    """Each name, and when its certificate ends; None for one that can't be read."""
    for name in NAMES:
        try:
            yield name, ends_at((folder / f"{name}.pem").read_bytes())
        except (OSError, ValueError):
            yield name, None


def _is_due(folder: Path, name: str) -> bool:
    try:
        found = read(folder, name)
        load_pem_x509_certificate(found.chain).verify_directly_issued_by(load_pem_x509_certificate(found.authorities))
    except (FailedPrecondition, ValueError, InvalidSignature):
        return True
    return ends_at(found.chain) - datetime.now(UTC) < _RENEWED_BEFORE


def _authority(folder: Path) -> DevelopmentCa:
    """The CA whose certificate is in the folder; its key is among the secrets, since no service needs it."""
    public, private = folder / AUTHORITIES, mesh.secret_file("development-ca.key")
    if not public.exists():
        made = DevelopmentCa.made()
        write_private(private, made.key, replace=True)
        write_private(public, made.certificate, replace=True)
        return made
    try:
        return DevelopmentCa(public.read_bytes(), private.read_bytes())
    except (OSError, ValueError):
        raise FailedPrecondition(
            Reason.STORE_UNFIT,
            f"{public} is not the CA of {private}: ask whoever keeps that CA, or name another folder in TENANTRY_TLS",
        ) from None
