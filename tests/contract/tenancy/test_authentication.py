"""Who holds a credential, on each kind of database and with a clock that a test moves."""

import asyncio
from pathlib import Path
from typing import cast

import jwt
import pytest

from tenantry.kit import owner
from tenantry.kit.assertion import KEYS_AGE_S, Keyring
from tenantry.kit.changes import Poller
from tenantry.kit.errors import ResourceExhausted, StoreUnavailable, Unauthenticated
from tenantry.kit.memory import MAX_AGE_S
from tenantry.kit.sql import Database
from tenantry.tenancy import audit_chain
from tenantry.tenancy.api_keys import ApiKeys, new_key
from tenantry.tenancy.audit import Refusal, Refusals
from tenantry.tenancy.authentication import Authentication
from tenantry.tenancy.guesses import BURST, SPARE_A_SECOND, SPARE_BURST
from tenantry.tenancy.initialise import initialise
from tenantry.tenancy.issuer_keys import IssuerKeys
from tenantry.tenancy.issuer_tokens import IssuerTokens
from tenantry.tenancy.last_use import EVERY_S, MOST_GATHERED, LastUse
from tenantry.tenancy.oidc import Keys
from tenantry.tenancy.records import ApiKey, Organisation, Tenant, TenantState, Tier
from tenantry.tenancy.rights import Grant
from tenantry.tenancy.secret import Secret
from tenantry.tenancy.settings import Settings
from tenantry.tenancy.signing import Signer, new_signing_key
from tenantry.tenancy.signing_rotation import LONGEST_TOKEN_S, PUBLISHED_FIRST_S, ROTATE_AFTER_S, SigningRotation
from tenantry.tenancy.store import PLATFORM, Store
from tenantry.tenancy.store_sql import SqlStore
from tests.harness.clock import FrozenClock
from tests.harness.poll import until
from tests.harness.room import caller_of

ACME = owner.Tenant("acme-org", "acme")
SECRET = Secret(bytes(range(32)))


async def _nobodys_keys(issuer: str) -> Keys:
    return {}


class Replica:
    """One process of several on the same tables: what it remembers is its own."""

    def __init__(self, database: Database, clock: FrozenClock) -> None:
        self.store = SqlStore(database)
        self.refusals = Refusals(self.store, clock)
        self.signer = Signer(self.store, SECRET, clock)
        tokens = IssuerTokens(self.store, IssuerKeys(_nobodys_keys, clock), SECRET.pepper, clock)
        self.authentication = Authentication(self.store, SECRET.pepper, self.signer, self.refusals, tokens, clock)
        memories = (self.authentication.keys, self.authentication.tenants, tokens.issuers, self.signer.memory)
        self.store.keep_true(memories)
        self.poller = Poller(database, memories, clock=clock)
        self.keys = ApiKeys(self.store, SECRET.pepper, clock)

    async def assertion(self, credential: str) -> str:
        return (await self.authentication.authenticate(credential)).assertion


@pytest.fixture
async def replicas(database: Database, clock: FrozenClock) -> tuple[Replica, Replica]:
    both = Replica(database, clock), Replica(database, clock)
    async with both[0].store.write() as tx:
        await tx.signing_keys.insert(PLATFORM, new_signing_key(SECRET, clock.now_ns()))
        await tx.organisations.insert(owner.Organisation("acme-org"), Organisation("acme-org", "Acme", 0))
        tenant = Tenant("acme", "acme-org", "Acme", Tier.FREE, TenantState.ACTIVE, "op_1", 0)
        await tx.tenants.insert(ACME, tenant)
    for replica in both:
        await replica.poller.poll()
    return both


async def _key(replica: Replica, clock: FrozenClock, expires_ns: int | None = None) -> tuple[ApiKey, str]:
    grant = Grant(frozenset({"generate"}), expires_ns=expires_ns)
    key, secret = new_key(ACME, "", grant, SECRET.pepper, clock.now_ns())
    async with replica.store.write() as tx:
        await tx.keys.insert(ACME, key)
    return key, secret


async def test_an_assertion_is_the_same_for_half_its_life(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    one, _ = replicas
    _, secret = await _key(one, clock)
    first = await one.authentication.authenticate(secret)
    assert first.expires_at == clock.now() + 120
    clock.advance(59.9)
    assert await one.authentication.authenticate(secret) == first
    clock.advance(0.1)
    second = await one.authentication.authenticate(secret)
    assert second.assertion != first.assertion and second.expires_at == first.expires_at + 60


async def test_an_assertion_ends_with_its_key(replicas: tuple[Replica, Replica], clock: FrozenClock) -> None:
    one, _ = replicas
    _, secret = await _key(one, clock, clock.now_ns() + 30 * 10**9)
    assert (await one.authentication.authenticate(secret)).expires_at == clock.now() + 30
    clock.advance(30)
    with pytest.raises(Unauthenticated):
        await one.authentication.authenticate(secret)


async def test_a_key_revoked_elsewhere_is_refused_after_the_next_poll(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    one, other = replicas
    key, secret = await _key(one, clock)
    assert await one.assertion(secret) and await other.assertion(secret)
    operator = caller_of("", "")
    await one.keys.revoke(operator, "acme", key.id)
    with pytest.raises(Unauthenticated):
        await one.assertion(secret)
    await other.poller.poll()
    with pytest.raises(Unauthenticated):
        await other.assertion(secret)


async def test_without_polls_nothing_is_remembered(replicas: tuple[Replica, Replica], clock: FrozenClock) -> None:
    one, other = replicas
    key, secret = await _key(one, clock)
    await other.assertion(secret)
    await one.keys.revoke(caller_of("", ""), "acme", key.id)
    clock.advance(3)
    with pytest.raises(Unauthenticated):
        await other.assertion(secret)


async def test_a_change_of_the_tenant_makes_a_new_assertion(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    one, other = replicas
    _, secret = await _key(one, clock)
    before = await one.assertion(secret), await other.assertion(secret)
    async with one.store.write() as tx:
        await tx.tenants.set_state(ACME, TenantState.ACTIVE, "op_2")
    await other.poller.poll()
    assert await one.assertion(secret) != before[0] and await other.assertion(secret) != before[1]


async def test_the_newest_active_key_signs_and_all_that_are_valid_verify(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    one, _ = replicas
    first = await one.signer.current_id()
    later = new_signing_key(SECRET, clock.now_ns() + 10 * 10**9)
    async with one.store.write() as tx:
        await tx.signing_keys.insert(PLATFORM, later)
    assert await one.signer.current_id() == first
    assert {key.id for key in await one.signer.valid_keys()} == {first, later.id}
    _, secret = await _key(one, clock)
    before = await one.assertion(secret)
    clock.advance(10)
    assert await one.signer.current_id() == later.id
    assert await one.assertion(secret) != before


async def test_a_flood_of_refusals_writes_little_and_the_log_stays_whole(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    one, _ = replicas
    for number in range(5000):
        one.refusals.note(Refusal(ACME, "key_1", "GetTenant", f"t-{number}", "NOT_FOUND"))
        one.refusals.note(Refusal(ACME, "key_1", "GetTenant", "same", "NOT_FOUND"))
    await one.refusals.flush()
    async with one.store.read() as tx:
        events = await tx.audit.list(ACME, None, 1000)
    assert len(events) == 60 and [event.entry.subject for event in events].count("same") == 1
    assert audit_chain.first_broken("tenant:acme", reversed(events)) is None
    clock.advance(60)
    one.refusals.note(Refusal(ACME, "key_1", "GetTenant", "later", "NOT_FOUND"))
    await one.refusals.flush()
    async with one.store.read() as tx:
        assert (await tx.audit.list(ACME, None, 1))[0].entry.subject == "later"


async def test_initialising_works_on_each_database_and_once(sql_url: str, tmp_path: Path) -> None:
    settings = Settings(sql_url, tmp_path / "tenancy.key", tmp_path / "tokens", tmp_path / "operator.key")
    first = await initialise(settings)
    again = await initialise(settings)
    assert first.operator_secret is not None and again.operator_secret is None
    assert first.tokens == again.tokens and len(first.tokens) == 9


async def test_two_who_initialise_at_once_make_one_operators_key(sql_url: str, tmp_path: Path) -> None:
    settings = Settings(sql_url, tmp_path / "tenancy.key", tmp_path / "tokens", tmp_path / "operator.key")
    made = await asyncio.gather(*(initialise(settings) for _ in range(4)))
    secrets = [one.operator_secret for one in made if one.operator_secret]
    assert secrets == [settings.operator_key.read_text()]
    database = Database(sql_url, "tenancy")
    async with SqlStore(database).read() as tx:
        assert await tx.keys.count(PLATFORM, 0) == 1
        assert len(await tx.signing_keys.list(PLATFORM, 0)) == 1
    await database.close()


async def test_a_keys_last_use_is_written_in_the_background_to_about_a_minute(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    one, other = replicas
    key, secret = await _key(one, clock)

    async def last_used() -> int | None:
        async with one.store.read() as tx:
            found = await tx.keys.find(PLATFORM, key.id)
        assert found is not None
        return found.last_used_ns

    running = asyncio.create_task(one.authentication.last_use.run())
    await until(lambda: clock.sleepers == 1)
    first_ns = clock.now_ns()
    await one.assertion(secret)
    assert await last_used() is None, "never on the request's path"
    clock.advance(EVERY_S)
    await until(lambda: clock.sleepers == 1)
    assert await last_used() == first_ns
    await one.assertion(secret)
    await other.assertion(secret)
    clock.advance(1)
    await other.poller.poll()
    await other.assertion(secret)
    await other.authentication.last_use.flush()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await last_used() == clock.now_ns(), "the earlier one that came later changes nothing"


async def test_the_use_of_endless_keys_is_not_remembered_and_what_can_not_be_written_is_kept(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    class Broken:
        def write(self) -> object:
            raise StoreUnavailable("sql")

    last_use = LastUse(cast(Store, Broken()), clock)
    for number in range(MOST_GATHERED + 10):
        last_use.note(str(number))
    with pytest.raises(StoreUnavailable):
        await last_use.flush()
    assert len(last_use._gathered) == MOST_GATHERED  # pyright: ignore[reportPrivateUsage]


async def test_a_signing_key_is_known_before_it_signs_and_ends_after_all_that_it_signed(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    one, other = replicas
    rotations = [SigningRotation(replica.store, SECRET, clock) for replica in replicas]
    first = await one.signer.current_id()

    async def load() -> dict[str, bytes]:
        await other.poller.poll()
        return {key.id: key.public_key for key in await other.signer.valid_keys()}

    # A service that has just read the keys, and reads them again as late as it may.
    keyring = Keyring(load, clock)
    await keyring.public_key(first)
    made = await asyncio.gather(*(rotation.rotate() for rotation in rotations))
    assert len({key.id for key in made}) == 1, "calling again, or at once, makes no other"
    _, secret = await _key(one, clock)
    service_token, token_ends = await one.signer.sign_service("models")
    signers: set[str] = set()
    while clock.now_ns() < made[0].not_before_ns + 10**9:
        clock.advance(KEYS_AGE_S / 2 + 1)
        await one.poller.poll()
        signer = jwt.get_unverified_header(await one.assertion(secret))["kid"]
        signers.add(signer)
        assert await keyring.public_key(signer) is not None
    assert signers == {first, made[0].id}
    clock.advance(token_ends - clock.now() - 1)
    await other.poller.poll()
    kid = jwt.get_unverified_header(service_token)["kid"]
    assert kid == first and await keyring.public_key(kid) is not None
    clock.advance(2 * PUBLISHED_FIRST_S + LONGEST_TOKEN_S)
    await other.poller.poll()
    assert [key.id for key in await other.signer.valid_keys()] == [made[0].id]


async def test_a_signing_key_is_replaced_when_it_is_old_by_one_of_the_replicas(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    rotations = [SigningRotation(replica.store, SECRET, clock) for replica in replicas]
    first = await replicas[0].signer.current_id()
    clock.advance(ROTATE_AFTER_S - 1)
    assert (await rotations[0].rotate_when_old()).id == first
    clock.advance(1)
    made = {(await rotation.rotate_when_old()).id for rotation in rotations}
    assert len(made) == 1 and made != {first}


async def test_a_key_that_is_remembered_passes_whatever_guesses_come_beside_it(
    replicas: tuple[Replica, Replica], clock: FrozenClock
) -> None:
    one, _ = replicas
    key, secret = await _key(one, clock)
    _, other = await _key(one, clock)

    async def comes_in(credential: str) -> bool:
        try:
            return bool((await one.authentication.authenticate(credential, client_address="192.0.2.1")).tenant)
        except ResourceExhausted:
            return False

    assert await comes_in(secret)
    for _ in range(int(BURST + SPARE_BURST)):
        with pytest.raises((Unauthenticated, ResourceExhausted)):
            await one.authentication.authenticate("junk", client_address="192.0.2.1")
    assert await comes_in(secret) and not await comes_in(other)
    clock.advance(1 / SPARE_A_SECOND)
    assert await comes_in(other), "one that comes for the first time waits for its turn"
    clock.advance(MAX_AGE_S + 1 / SPARE_A_SECOND)
    with pytest.raises((Unauthenticated, ResourceExhausted)):
        await one.authentication.authenticate("junk", client_address="192.0.2.1")
    assert await comes_in(secret), "also when it must be looked up again, since the change log is not read"
    await one.keys.revoke(caller_of("", ""), "acme", key.id)
    with pytest.raises(Unauthenticated):
        await one.authentication.authenticate(secret, client_address="192.0.2.1")
