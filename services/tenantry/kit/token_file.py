"""A hosted service's own token: read from its file, renewed by tenancy long before its end, written back."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import jwt

from tenantry.kit.clock import Clock
from tenantry.kit.errors import FailedPrecondition, Reason
from tenantry.kit.private_file import write_private

_CHECK_EVERY_S = 60.0


class TokenFile:
    """The current token of one service."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        try:
            self._token = path.read_text().strip()
        except OSError:
            raise FailedPrecondition(
                Reason.STORE_UNFIT, f"the service token {path} can't be read; run `tenantry init` to make it"
            ) from None

    def current(self) -> str:
        """The token to send as `x-tenantry-service`."""
        return self._token

    async def keep_fresh(self, renew: Callable[[], Awaitable[str]]) -> None:
        """Renews the token at half its life, for ever. A folder that can't be written to is none of our business."""
        while True:
            await self._clock.sleep(_CHECK_EVERY_S)
            claims = jwt.decode(self._token, options={"verify_signature": False})
            if self._clock.now() < (claims["iat"] + claims["exp"]) / 2:
                continue
            self._token = await renew()
            try:
                await asyncio.to_thread(write_private, self._path, self._token.encode(), replace=True)
            except OSError:
                continue
