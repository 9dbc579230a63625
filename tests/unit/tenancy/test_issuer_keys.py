"""When an issuer's keys are read, by a clock that a test moves."""

import asyncio

import pytest

from tenantry.kit.errors import Reason, Unavailable
from tenantry.tenancy.issuer_keys import MOST_ISSUERS, PAUSE_S, REFRESH_S, STALE_S, IssuerKeys, away
from tenantry.tenancy.oidc import Keys, VerifyingKey, keys_of
from tests.harness.clock import FrozenClock
from tests.harness.issuer import new_pair
from tests.harness.poll import until

URL = "https://login.example.com"


class Source:
    """An issuer's key set as a test wants it, and how often it was read."""

    def __init__(self) -> None:
        self.pairs = [new_pair("one")]
        self.reads = 0
        self.is_away = False

    async def read(self, issuer: str) -> Keys:
        self.reads += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise away(issuer, "for a test")
        return keys_of({"keys": [pair.jwk for pair in self.pairs]})


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def keys(source: Source, clock: FrozenClock) -> IssuerKeys:
    return IssuerKeys(source.read, clock)


async def one(keys: IssuerKeys, key_id: str = "one") -> VerifyingKey | None:
    return await keys.key(URL, key_id, "ES256")


async def test_a_set_is_read_once_for_all_who_wait_and_then_remembered(keys: IssuerKeys, source: Source) -> None:
    found = await asyncio.gather(*(one(keys) for _ in range(50)))
    assert source.reads == 1 and None not in found
    assert await one(keys) is not None and source.reads == 1
    assert await keys.key(URL, "one", "RS256") is None


async def test_an_unknown_key_is_looked_for_at_most_once_an_interval(
    keys: IssuerKeys, source: Source, clock: FrozenClock
) -> None:
    await one(keys)
    source.pairs.append(new_pair("two"))
    for _ in range(100):
        assert await one(keys, "junk") is None
    assert source.reads == 1
    clock.advance(PAUSE_S)
    assert await one(keys, "two") is not None
    for _ in range(100):
        assert await one(keys, "junk") is None
    assert source.reads == 2


async def test_an_old_set_is_read_again_while_it_answers(keys: IssuerKeys, source: Source, clock: FrozenClock) -> None:
    await one(keys)
    source.pairs = [new_pair("two")]
    clock.advance(REFRESH_S + 1)
    assert await one(keys) is not None, "nobody waits for it"
    await until(lambda: source.reads == 2)
    await until(lambda: keys.remembered(URL, "one", "ES256") is None)
    assert await one(keys, "two") is not None


async def test_when_the_issuer_is_away_its_keys_go_on_for_a_while(
    keys: IssuerKeys, source: Source, clock: FrozenClock
) -> None:
    await one(keys)
    source.is_away = True
    for _ in range(int(STALE_S / 60)):
        assert await one(keys) is not None
        clock.advance(60)
        await asyncio.sleep(0)
    clock.advance(1)
    with pytest.raises(Unavailable) as refused:
        await one(keys)
    assert refused.value.reason is Reason.ISSUER_UNAVAILABLE and refused.value.retry_after_s == PAUSE_S
    source.is_away = False
    clock.advance(PAUSE_S)
    assert await one(keys) is not None


async def test_an_issuer_that_is_away_is_not_asked_by_everybody(keys: IssuerKeys, source: Source) -> None:
    source.is_away = True
    for _ in range(20):
        with pytest.raises(Unavailable):
            await one(keys)
    assert source.reads == 1


async def test_issuers_without_end_are_not_remembered(keys: IssuerKeys) -> None:
    for number in range(MOST_ISSUERS + 10):
        keys.remembered(f"https://{number}.example.com", "one", "ES256")
    assert len(keys._sets) == MOST_ISSUERS  # pyright: ignore[reportPrivateUsage]
