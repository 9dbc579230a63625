"""Receipts: a reservation's fields in clear and a MAC over them, which is the right to settle it."""

import hmac
from dataclasses import dataclass

from tenantry.kit.errors import PermissionDenied, Reason
from tenantry.kit.mac import mac_of_list

_PURPOSE = "tenantry.quota.receipt.1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the MAC covers."""

    reservation: str
    organisation: str
    tenant: str
    key_id: str
    end_user: str
    model: str
    held_tokens: int
    reserved_us: int


def mac_of(receipt: Receipt, secret: bytes) -> bytes:
    """HMAC-SHA-256 over the fields."""
    texts = (
        _PURPOSE,
        receipt.reservation,
        receipt.organisation,
        receipt.tenant,
        receipt.key_id,
        receipt.end_user,
        receipt.model,
        str(receipt.held_tokens),
        str(receipt.reserved_us),
    )
    return mac_of_list(secret, texts)


def check(receipt: Receipt, mac: bytes, secret: bytes, tenant: str) -> None:
    """Refuse a receipt that quota did not give, or that is not for the tenant of the call ("" when it names none)."""
    if not hmac.compare_digest(mac, mac_of(receipt, secret)) or tenant not in ("", receipt.tenant):
        raise invalid()


def invalid() -> PermissionDenied:
    """The one refusal of receipts: it does not say which part was wrong."""
    return PermissionDenied(Reason.RECEIPT_INVALID, "the receipt is not one that quota gave for this tenant")
