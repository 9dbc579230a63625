"""What a tenant may try so that others' services have too much to remember."""

import pytest

from tenantry.api.tenancy.v1 import key_service_pb2 as key_pb
from tenantry.kit.errors import Reason, ResourceExhausted
from tenantry.tenancy import api_keys
from tests.attack.tenancy.conftest import Victims


async def test_keys_made_and_revoked_in_a_loop(victims: Victims, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_KEYS", 5)
    made = 0
    async with victims.world.as_holder(victims.acme[1]):
        with pytest.raises(ResourceExhausted) as refused:
            while made < 20:
                key = (await victims.world.keys.CreateApiKey(key_pb.CreateApiKeyRequest(scopes=["generate"]))).key
                await victims.world.keys.RevokeApiKey(key_pb.RevokeApiKeyRequest(key_id=key.key_id))
                made += 1
    assert refused.value.reason is Reason.TOO_MANY and made == 4
    async with victims.world.as_holder(victims.globex[1]):
        await victims.world.keys.CreateApiKey(key_pb.CreateApiKeyRequest(scopes=["generate"]))


async def test_one_key_changed_in_a_loop(victims: Victims) -> None:
    key_id, _ = await victims.world.key("acme", scopes=["generate", "models.read"])
    async with victims.world.as_holder(victims.acme[1]):
        for version, scopes in enumerate((["generate"], ["generate", "models.read"]) * 5, start=1):
            await victims.world.keys.UpdateApiKey(
                key_pb.UpdateApiKeyRequest(key_id=key_id, version=version, scopes=scopes)
            )
    told = await victims.world.revocations()
    assert [(one.key_id, one.generation) for one in told] == [(key_id, 6)]
