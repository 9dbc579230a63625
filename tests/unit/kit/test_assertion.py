"""When an assertion has ended, and for which calls that matters."""

import asyncio
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tenantry.kit import call
from tenantry.kit.access import Access
from tenantry.kit.assertion import LONGEST_REQUEST_S, Keyring, TokenAuthenticator, sign_assertion, sign_service_token
from tenantry.kit.errors import Unauthenticated
from tests.harness.clock import FrozenClock
from tests.harness.room import caller_of

LIFE_S = 120.0
REQUIRED = Access("public", "generate", "required", ())
ON_BEHALF = Access("mesh", "", "required", ("gateway",))
RECEIPT = Access("mesh", "", "receipt", ("gateway",))


class Proofs:
    """An assertion of two minutes, with a service token and without."""

    def __init__(self, clock: FrozenClock) -> None:
        key = Ed25519PrivateKey.generate()

        async def keys() -> dict[str, bytes]:
            return {"k": key.public_key().public_bytes_raw()}

        self._authenticator = TokenAuthenticator(Keyring(keys, clock), clock)
        now = clock.now()
        assertion = sign_assertion(key, "k", replace(caller_of(), expires_at=now + LIFE_S), now)
        self.alone = {call.ASSERTION: assertion}
        self.inside = self.alone | {call.SERVICE: sign_service_token(key, "k", "gateway", now, now + 86_400)}

    async def accepted(self, access: Access, metadata: dict[str, str]) -> bool:
        try:
            verified = await self._authenticator.authenticate("", access, metadata)
        except Unauthenticated:
            return False
        return verified.caller is not None


@pytest.fixture
def proofs(clock: FrozenClock) -> Proofs:
    return Proofs(clock)


async def test_where_a_request_enters_an_assertion_ends_on_time(proofs: Proofs, clock: FrozenClock) -> None:
    clock.advance(LIFE_S - 1)
    assert await proofs.accepted(REQUIRED, proofs.alone)
    clock.advance(1)
    assert not await proofs.accepted(REQUIRED, proofs.alone)


async def test_within_a_request_it_may_be_past_its_end_by_the_longest_request(
    proofs: Proofs, clock: FrozenClock
) -> None:
    clock.advance(LIFE_S + LONGEST_REQUEST_S - 1)
    assert await proofs.accepted(ON_BEHALF, proofs.inside) and not await proofs.accepted(REQUIRED, proofs.alone)
    clock.advance(1)
    assert not await proofs.accepted(ON_BEHALF, proofs.inside)


async def test_what_a_receipt_gives_the_right_to_is_done_after_it_as_well(proofs: Proofs, clock: FrozenClock) -> None:
    clock.advance(LIFE_S + LONGEST_REQUEST_S + 60)
    assert await proofs.accepted(RECEIPT, proofs.inside)


async def test_however_many_name_an_unknown_key_the_keys_are_read_once(clock: FrozenClock) -> None:
    loads, end = 0, asyncio.Event()

    async def keys() -> dict[str, bytes]:
        nonlocal loads
        loads += 1
        await end.wait()
        return {}

    keyring = Keyring(keys, clock)
    asked = [asyncio.ensure_future(keyring.public_key(f"junk-{number}")) for number in range(100)]
    await asyncio.sleep(0)
    asked[0].cancel()
    await asyncio.sleep(0)
    end.set()
    assert await asyncio.gather(*asked[1:]) == [None] * 99
    assert loads == 1
