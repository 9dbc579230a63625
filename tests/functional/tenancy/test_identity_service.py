"""Authentication, signing keys and service tokens, as the edge and the mesh see them."""

import asyncio
import logging
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tenantry.api.tenancy.v1 import identity_service_pb2 as pb
from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.api.tenancy.v1.identity_service_pb2_grpc import IdentityServiceStub
from tenantry.kit import call, telemetry
from tenantry.kit.access import access_of
from tenantry.kit.assertion import Keyring, TokenAuthenticator
from tenantry.kit.clock import SystemClock
from tenantry.kit.errors import FailedPrecondition, Unauthenticated
from tenantry.kit.ids import new_id
from tenantry.kit.sql import Database
from tenantry.tenancy import credentials
from tenantry.tenancy.initialise import initialise
from tests.functional.tenancy.world import SERVICE_SCOPES, World, world
from tests.harness.initialised import settings_in
from tests.harness.poll import until


async def test_a_caller_gets_the_same_assertion_until_something_changes(tenancy: World) -> None:
    await tenancy.tenant("acme", "acme-org")
    _, secret = await tenancy.key("acme")
    _, other = await tenancy.key("acme")
    first = await tenancy.authenticate(secret)
    assert await tenancy.authenticate(secret) == first
    assert (await tenancy.authenticate(other)).assertion != first.assertion


@pytest.mark.parametrize("secret", ["", "x", "tnt_", "Bearer tnt_x", "tnt_" + "0" * 75, "é" * 79, "a" * 100_000])
async def test_junk_is_refused(tenancy: World, secret: str) -> None:
    with pytest.raises(Unauthenticated):
        await tenancy.authenticate(secret)


async def test_junk_is_refused_before_any_look_up_and_a_known_key_needs_none(
    tenancy: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, secret = await tenancy.key(scopes=["tenants.read"])
    await tenancy.authenticate(secret)

    async def one_more() -> bool:
        await tenancy.authenticate(secret)
        return True

    await until(one_more)
    looked: list[str] = []
    original = Database.read

    def counted(self: Database) -> object:
        looked.append(self.service)
        return original(self)

    monkeypatch.setattr(Database, "read", counted)
    changed = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    for _ in range(20):
        await tenancy.authenticate(secret)
        with pytest.raises(Unauthenticated):
            await tenancy.authenticate(changed)
    assert len(looked) <= 2, "no more than the poller's own"


async def test_a_key_of_the_right_form_that_does_not_exist_is_looked_up_once(
    tenancy: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    guess = credentials.new_credential(new_id("key"))
    looked: list[str] = []
    original = Database.read

    def counted(self: Database) -> object:
        looked.append(self.service)
        return original(self)

    monkeypatch.setattr(Database, "read", counted)
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            await tenancy.authenticate(guess)
    assert len(looked) <= 3


async def test_a_renewed_service_token_is_the_askers_own(tenancy: World) -> None:
    stub = IdentityServiceStub(tenancy.channel("models"))
    renewed = await stub.RenewServiceToken(pb.RenewServiceTokenRequest())
    keys = {key.key_id: key.public_key for key in (await stub.ListSigningKeys(pb.ListSigningKeysRequest())).keys}

    async def load() -> dict[str, bytes]:
        return keys

    access = access_of("/tenantry.api.tenancy.v1.IdentityService/RenewServiceToken")
    assert access is not None
    authenticator = TokenAuthenticator(Keyring(load, SystemClock()), SystemClock())
    verified = await authenticator.authenticate("", access, {call.SERVICE: renewed.token})
    assert (verified.identity, verified.caller) == ("models", None)


async def test_a_start_finds_keys_and_tenants_of_the_one_before(tmp_path: Path) -> None:
    async with world(tmp_path) as first:
        await first.tenant("acme", "acme-org")
        _, secret = await first.key("acme")
        operator = first.operator
    async with world(tmp_path) as second:
        assert second.operator == operator
        assert (await second.authenticate(secret)).tenant == "acme"


async def test_initialising_again_makes_nothing_but_new_service_tokens(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    first = await initialise(settings)
    assert first.operator_secret == settings.operator_key.read_text()
    assert settings.operator_key.stat().st_mode & 0o777 == 0o600
    assert sorted(path.stem for path in first.tokens) == sorted(
        ["tenancy", "quota", "retrieval", "cache", "prompts", "models", "insight", "gateway", "edge"]
    )
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in first.tokens)
    again = await initialise(settings)
    assert again.operator_secret is None and first.operator_secret == settings.operator_key.read_text()


async def test_tables_without_their_secret_are_refused(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    await initialise(settings)
    kept = settings.secret.read_bytes()
    settings.secret.unlink()
    with pytest.raises(FailedPrecondition):
        await initialise(settings)
    settings.secret.write_bytes(kept[::-1])
    with pytest.raises(FailedPrecondition):
        await initialise(settings)
    settings.secret.write_bytes(kept)
    await initialise(settings)


async def test_spans_carry_the_tenant_and_nothing_carries_the_credential(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spans = InMemorySpanExporter()
    async with world(tmp_path, "network", [spans]) as running:
        await running.tenant("acme", "acme-org")
        key_id, secret = await running.key("acme", scopes=SERVICE_SCOPES)
        await running.authenticate(secret)
        with pytest.raises(Unauthenticated) as refused:
            await running.authenticate(secret[:-1] + "!")
        async with running.as_holder(running.operator):
            await running.keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(key_id=key_id))
        with pytest.raises(Unauthenticated):
            await running.authenticate(secret)
        await asyncio.to_thread(telemetry.flush)
        finished = spans.get_finished_spans()
        served = [span for span in finished if span.name.endswith("AuthenticateCaller")]
        of_acme = [span for span in served if (span.attributes or {}).get("tenantry.tenant.id") == "acme"]
        refusals = [span for span in of_acme if (span.attributes or {}).get("tenantry.error.reason")]
        assert len(of_acme) > len(refusals) >= 1, "a revoked key is still somebody's"
        random_part = secret[30:73]
        everything = [repr(span.to_json()) for span in finished] + [record.getMessage() for record in caplog.records]
        everything += [refused.value.message, repr(refused.value.metadata)]
    assert not any(random_part in text for text in everything)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "sql").iterdir())
    assert random_part.encode() not in stored
