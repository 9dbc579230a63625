"""Reads an OIDC issuer's discovery document and its keys (OpenID Connect Discovery 1.0, RFC 7517).

Tenants say where, so: only https to public addresses, to the very address that was checked, no redirects, so many bytes and
seconds.
"""

import asyncio
import json
from importlib import import_module
from typing import Any, cast

from tenantry.kit import addresses
from tenantry.tenancy.issuer_keys import away
from tenantry.tenancy.oidc import Keys, keys_of

READ_S = 5.0
MOST_BYTES = 256 * 1024
_WELL_KNOWN = "/.well-known/openid-configuration"


class Discovery:
    """Reads issuers. With `loopback` they may be on this machine, over http."""

    def __init__(self, *, loopback: bool) -> None:
        self._loopback = loopback
        self._http: Any = None
        self._client: Any = None

    async def keys(self, issuer: str) -> Keys:
        """The keys of the issuer whose URL this is; Unavailable says what is wrong."""
        try:
            async with asyncio.timeout(READ_S):
                document = await self._json(issuer, issuer.removesuffix("/") + _WELL_KNOWN)
                if document.get("issuer") != issuer:
                    raise away(issuer, "its discovery document names another issuer")
                place = document.get("jwks_uri")
                if not isinstance(place, str) or addresses.fault_of(place, loopback=self._loopback):
                    raise away(issuer, "its discovery document names no place for keys that may be called")
                return await asyncio.to_thread(keys_of, await self._json(issuer, place))
        except TimeoutError:
            raise away(issuer, f"it did not answer within {READ_S:g} s") from None
        except ValueError:
            raise away(issuer, "its key set is none") from None

    async def aclose(self) -> None:
        """Closes connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _json(self, issuer: str, url: str) -> dict[str, Any]:
        if self._client is None:
            # A tenth of a second to import, and most meshes have no issuer.
            self._http = await asyncio.to_thread(import_module, "tenantry.kit.public_http")
            self._client = self._http.http_client(loopback=self._loopback, most_bytes=MOST_BYTES)
        try:
            document = json.loads(await self._http.read(self._client, url))
        except self._http.Unreadable:
            raise away(issuer, "it can't be reached, or answers otherwise than with a document") from None
        except (ValueError, RecursionError):
            raise away(issuer, "its document is no JSON") from None
        if not isinstance(document, dict):
            raise away(issuer, "its document is no JSON object")
        return cast(dict[str, Any], document)
