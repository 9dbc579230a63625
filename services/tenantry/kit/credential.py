"""The credential of a client's call: one rule for kit's edge and for what Envoy hands to tenancy."""

import re
from collections.abc import Mapping

from tenantry.kit.errors import Reason, Unauthenticated

# Tokens of some issuers name a person's groups, and are some kilobytes long.
_BEARER = re.compile(r"[Bb]earer ([\x21-\x7e]{1,8192})")


def credential_of(metadata: Mapping[str, str]) -> str:
    """What stands behind `Bearer`. Unauthenticated when there is none, or something else."""
    header = metadata.get("authorization")
    if header is None:
        raise Unauthenticated(
            Reason.CREDENTIAL_MISSING, "the call carries no credential; send `authorization: Bearer KEY`"
        )
    if "," in header:  # how HTTP joins two of one name, as Envoy hands them on; no credential of ours has one
        raise Unauthenticated(Reason.CREDENTIAL_INVALID, "the metadata authorization is doubled")
    credential = _BEARER.fullmatch(header)
    if credential is None:
        raise Unauthenticated(Reason.CREDENTIAL_INVALID, "the credential is not `Bearer KEY`")
    return credential[1]
