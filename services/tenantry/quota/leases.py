"""Leases: the right to run in a pool, in clear and with a MAC, which any replica takes up again."""

import hmac
from dataclasses import dataclass

from tenantry.kit.errors import PermissionDenied, Reason
from tenantry.kit.mac import mac_of_list

_PURPOSE = "tenantry.quota.lease.1"


@dataclass(frozen=True, slots=True)
class Lease:
    """What the MAC covers, beside the reservation that the call is made for and its tenant."""

    pool: str
    ticket: str
    epoch: str
    ends_us: int
    input_tokens: int
    max_output_tokens: int
    priority: int


def mac_of(lease: Lease, reservation: str, tenant: str, secret: bytes) -> bytes:
    """HMAC-SHA-256 over the fields."""
    texts = (
        _PURPOSE,
        reservation,
        tenant,
        lease.pool,
        lease.ticket,
        lease.epoch,
        str(lease.ends_us),
        str(lease.input_tokens),
        str(lease.max_output_tokens),
        str(lease.priority),
    )
    return mac_of_list(secret, texts)


def check(lease: Lease, mac: bytes, reservation: str, tenant: str, secret: bytes) -> None:
    """Refuse a lease that quota did not give, or not for this reservation. It does not say which part was wrong."""
    if not hmac.compare_digest(mac, mac_of(lease, reservation, tenant, secret)):
        raise PermissionDenied(Reason.RECEIPT_INVALID, "the lease is not one that quota gave for this reservation")
