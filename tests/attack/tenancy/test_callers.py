"""What somebody may try who guesses credentials, or would get more by a key than he has."""

import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from tenantry.api.tenancy.v1 import issuer_service_pb2 as issuer_pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.kit.errors import (
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    Unauthenticated,
)
from tenantry.kit.ids import new_id
from tenantry.kit.owner import Platform
from tenantry.tenancy import credentials, guesses
from tenantry.tenancy.guesses import BURST
from tenantry.tenancy.records import ApiKey
from tenantry.tenancy.roles import OPERATOR, ORGANISATION_ADMIN, ROLES
from tenantry.tenancy.store_sql.api_keys import SqlKeys
from tests.functional.tenancy.world import World, world
from tests.harness.issuer import AUDIENCE, issuer
from tests.harness.poll import until

NAT = "198.51.100.7"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as running:
        await running.tenant("acme", "acme-org")
        await running.tenant("globex", "globex-org")
        yield running


async def rotate(scene: World, key_id: str, tenant: str = "") -> str:
    request = key_pb.RotateApiKeyRequest(tenant=tenant, key_id=key_id)
    return (await scene.keys.RotateApiKey(request)).secret


async def test_scopes_escalated_by_rotating_a_key_that_has_them(scene: World) -> None:
    admin_id, _ = await scene.key("acme")
    _, poor = await scene.key("acme", scopes=["keys.write", "keys.read"])
    async with scene.as_holder(poor):
        with pytest.raises(PermissionDenied) as refused:
            await rotate(scene, admin_id)
    assert refused.value.reason is Reason.SCOPE_MISSING


async def test_restrictions_shed_by_rotating_a_key_without_them(scene: World) -> None:
    scopes = ["generate", "keys.write"]
    free_id, _ = await scene.key("acme", scopes=scopes)
    end = Timestamp(seconds=int(time.time()) + 600)
    bounds: tuple[dict[str, Any], ...] = (
        {"models": ["small"]},
        {"collections": ["faq"]},
        {"networks": [f"{NAT}/32"]},
        {"expire_time": end},
    )
    for bound in bounds:
        own_id, secret = await scene.key("acme", scopes=scopes, **bound)
        with scene.as_caller(await scene.call_of(secret, NAT)):
            with pytest.raises(PermissionDenied):
                await rotate(scene, free_id)
            # One's own key has one's own bounds, and keeps them.
            follower = await rotate(scene, own_id)
        with scene.as_caller(await scene.call_of(follower, NAT)), pytest.raises(PermissionDenied):
            await rotate(scene, free_id)


async def test_a_key_of_somebody_else_rotated(scene: World) -> None:
    foreign_id, _ = await scene.key("globex")
    operators_id, _ = await scene.key(scopes=["keys.write"])
    organisations_id, _ = await scene.key(organisation="acme-org", scopes=["keys.write"])
    _, admin = await scene.key("acme")
    _, organisations = await scene.key(organisation="acme-org", scopes=ROLES[ORGANISATION_ADMIN])
    async with scene.as_holder(admin):
        for tenant in ("", "acme", "globex"):
            for key_id in (foreign_id, operators_id, organisations_id, f"key_{'0' * 26}"):
                with pytest.raises(NotFound):
                    await rotate(scene, key_id, tenant)
    async with scene.as_holder(organisations):
        for key_id in (foreign_id, operators_id):
            with pytest.raises(NotFound):
                await rotate(scene, key_id)


async def test_a_rotation_replayed(scene: World) -> None:
    """Or made twice at once: there is one follower, so that no key is left that nobody knows of."""
    key_id, _ = await scene.key("acme", scopes=["generate"])
    async with scene.as_holder(scene.operator):
        await rotate(scene, key_id)
        for _ in range(3):
            with pytest.raises(FailedPrecondition):
                await rotate(scene, key_id)
        listed = (await scene.keys.ListApiKeys(key_pb.ListApiKeysRequest(tenant="acme"))).keys
    assert len(listed) == 2


def guess() -> str:
    return credentials.new_credential(new_id("key"))


async def flood(scene: World, times: int, address: str = NAT) -> int:
    """How many of so many guesses were refused for their number."""
    limited = 0
    for number in range(times):
        try:
            await scene.authenticate(("junk", guess(), "a.b.c")[number % 3], address)
        except ResourceExhausted as error:
            assert error.reason is Reason.TOO_MANY_FAILURES and error.retry_after_s
            limited += 1
        except Unauthenticated:
            pass
    return limited


async def test_a_flood_of_guesses_is_slowed_and_locks_out_no_tenant(scene: World) -> None:
    """Whose callers may be behind the address that the guesses come from."""
    _, known = await scene.key("acme", scopes=["generate"])
    _, fresh = await scene.key("globex", scopes=["generate"])
    await scene.authenticate(known, NAT)
    assert await flood(scene, int(BURST) + 300) > 200

    async def comes_in(secret: str) -> bool:
        try:
            return bool((await scene.authenticate(secret, NAT)).tenant)
        except ResourceExhausted:
            return False

    # One that is known, and one that is used for the first time.
    for secret in (known, fresh):
        await until(partial(comes_in, secret))
    async with issuer() as globexs:
        async with scene.as_holder(scene.operator):
            await scene.issuers.RegisterIssuer(
                issuer_pb.RegisterIssuerRequest(
                    tenant="globex", url=globexs.url, audience=AUDIENCE, scopes=["generate"]
                )
            )
        token = globexs.token()
        await until(lambda: comes_in(token))
    # Nobody else is slowed.
    with pytest.raises(Unauthenticated):
        await scene.authenticate(guess(), "198.51.100.8")


async def test_a_flood_of_guesses_costs_few_look_ups(scene: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses, "SPARE_A_SECOND", 0.0)
    looked: list[str] = []
    plain = SqlKeys.find

    async def find(self: SqlKeys, owner: Platform, key_id: str) -> ApiKey | None:
        looked.append(key_id)
        return await plain(self, owner, key_id)

    monkeypatch.setattr(SqlKeys, "find", find)
    await flood(scene, int(BURST) + 10)
    looked.clear()
    assert await flood(scene, 600) > 500
    assert len(looked) <= guesses.SPARE_BURST


async def test_a_revoked_key_is_no_guess(scene: World) -> None:
    """A back end that was not told of it, and asks all day, doesn't use up its address's allowance."""
    key_id, secret = await scene.key("acme", scopes=["generate"])
    async with scene.as_holder(scene.operator):
        await scene.keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(tenant="acme", key_id=key_id))
    for _ in range(int(BURST) + 10):
        with pytest.raises(Unauthenticated):
            await scene.authenticate(secret, NAT)
    with pytest.raises(Unauthenticated):
        await scene.authenticate(guess(), NAT)


async def test_whether_a_key_exists_told_by_the_time_that_is_taken(
    scene: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is not there is compared as one that is; with a constant-time comparison either way."""
    key_id, _ = await scene.key("acme", scopes=["generate"])
    compared: list[bytes] = []
    plain = credentials.matches

    def matches(pepper: bytes, credential: str, digest: bytes) -> bool:
        compared.append(digest)
        return plain(pepper, credential, digest)

    monkeypatch.setattr(credentials, "matches", matches)
    counts: list[int] = []
    for tried in (credentials.new_credential(key_id), guess()):
        compared.clear()
        with pytest.raises(Unauthenticated) as refused:
            await scene.authenticate(tried)
        counts.append(len(compared))
        assert refused.value.message == "the key is not valid"
    assert counts == [1, 1]


async def test_an_organisations_admin_and_an_operators_key_made_by_less(scene: World) -> None:
    _, organisations = await scene.key(organisation="acme-org", scopes=ROLES[ORGANISATION_ADMIN])
    async with scene.as_holder(organisations):
        for scope in sorted(ROLES[OPERATOR] - ROLES[ORGANISATION_ADMIN]):
            with pytest.raises(PermissionDenied):
                request = key_pb.CreateApiKeyRequest(organisation="acme-org", scopes=[scope])
                await scene.keys.CreateApiKey(request)
