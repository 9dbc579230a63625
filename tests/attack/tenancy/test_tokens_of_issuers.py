"""JWTs that must let nobody in: forged, confused, borrowed, or of an issuer that is somebody else's."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.utils import base64url_decode

from tenantry.api.tenancy.v1 import issuer_service_pb2 as pb
from tenantry.kit.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    TenantryError,
    Unauthenticated,
    Unavailable,
)
from tenantry.tenancy import discovery, issuer_keys
from tenantry.tenancy.roles import ROLES, TENANT_ADMIN
from tests.functional.tenancy.world import World, world
from tests.harness.issuer import AUDIENCE, WELL_KNOWN, Issuer, issuer, new_pair
from tests.harness.poll import until


@dataclass
class Scene:
    """Two tenants, each with its admin's key and its own issuer."""

    world: World
    acme: Issuer
    globex: Issuer
    admins: dict[str, str]

    async def lets_in(self, token: str) -> str:
        """The tenant that the token lets in; "" if it is refused."""
        try:
            return (await self.world.authenticate(token)).tenant
        except Unauthenticated:
            return ""


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with world(tmp_path) as running, issuer("RS256", "ES256") as acmes, issuer() as globexs:
        admins: dict[str, str] = {}
        for tenant, one in (("acme", acmes), ("globex", globexs)):
            await running.tenant(tenant, f"{tenant}-org")
            admins[tenant] = (await running.key(tenant))[1]
            async with running.as_holder(admins[tenant]):
                await running.issuers.RegisterIssuer(
                    pb.RegisterIssuerRequest(url=one.url, audience=AUDIENCE, scopes=["generate"])
                )
        yield Scene(running, acmes, globexs, admins)


def written(header: dict[str, Any], claims: dict[str, Any], sign: bytes | None = None) -> str:
    """A token by hand, since no library would write it; signed with HMAC-SHA-256 if there is a secret."""
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (header, claims)]
    text = b".".join(parts)
    mac = b"" if sign is None else hmac.digest(sign, text, hashlib.sha256)
    return (text + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")).decode()


async def test_a_token_that_is_not_signed(scene: Scene) -> None:
    claims = scene.acme.claims()
    for algorithm in ("none", "None", "NONE", "nOnE", ""):
        for key_id in ("key-0", "other"):
            assert not await scene.lets_in(written({"alg": algorithm, "typ": "JWT", "kid": key_id}, claims))
    header, payload, _ = scene.acme.token().split(".")
    assert not await scene.lets_in(f"{header}.{payload}.")


async def test_the_public_key_taken_for_a_shared_secret(scene: Scene) -> None:
    public = scene.acme.pairs["key-0"].key.public_key()
    jwk = scene.acme.pairs["key-0"].jwk
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).strip(),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        base64url_decode(jwk["n"]),
        json.dumps(jwk).encode(),
        b"",
    ]
    for secret in secrets:
        for algorithm in ("HS256", "RS256"):
            header = {"alg": algorithm, "typ": "JWT", "kid": "key-0"}
            assert not await scene.lets_in(written(header, scene.acme.claims(), secret))


async def test_a_key_of_one_algorithm_used_for_another(scene: Scene) -> None:
    rsa = scene.acme.pairs["key-0"]
    for algorithm in ("RS512", "PS256", "RS384"):
        token = jwt.encode(scene.acme.claims(), rsa.key, algorithm, headers={"kid": "key-0", "typ": "JWT"})
        assert not await scene.lets_in(token)
    # The id of a key of another kind.
    assert not await scene.lets_in(scene.acme.token("key-0", headers={"kid": "key-1"}))


async def test_an_unknown_key_id_and_the_storm_of_fetches_it_would_cause(scene: Scene) -> None:
    assert await scene.lets_in(scene.acme.token()) == "acme"
    asked = len(scene.acme.asked)
    for number in range(50):
        assert not await scene.lets_in(scene.acme.token(headers={"kid": f"unknown-{number}"}))
    assert len(scene.acme.asked) - asked <= 2


async def test_a_header_that_says_where_the_key_is(scene: Scene) -> None:
    async with issuer() as thief:
        pair = thief.pairs["key-0"]
        headers: list[dict[str, Any]] = [
            {"jku": f"{thief.url}/keys"},
            {"x5u": f"{thief.url}/certificate"},
            {"jwk": pair.jwk},
            {"x5c": ["MIIB"]},
            {"jku": f"{thief.url}/keys", "kid": "key-0", "jwk": pair.jwk},
        ]
        for header in headers:
            stolen = thief.token(headers=header, iss=scene.acme.url)
            assert not await scene.lets_in(stolen)
        assert not thief.asked


async def test_an_expired_token_one_that_is_not_yet_valid_and_one_for_somebody_else(scene: Scene) -> None:
    now = int(time.time())
    wrong: list[dict[str, Any]] = [
        {"exp": now - 1},
        {"nbf": now + 120},
        {"iat": now + 120},
        {"aud": "another-app"},
        {"aud": None},
        {"exp": None},
        {"sub": None},
        {"iss": scene.acme.url + "/"},
    ]
    for claims in wrong:
        assert not await scene.lets_in(scene.acme.token(**claims)), claims
    assert await scene.lets_in(scene.acme.token()) == "acme"


async def test_a_token_that_was_good_and_has_ended(scene: Scene) -> None:
    end = int(time.time()) + 2
    token = scene.acme.token(exp=end)
    assert await scene.lets_in(token) == "acme"

    async def refused() -> bool:
        return not await scene.lets_in(token)

    await until(refused)
    assert end <= time.time() < end + 1


async def test_a_token_that_names_another_tenants_issuer_or_tenant(scene: Scene) -> None:
    assert not await scene.lets_in(scene.globex.token(iss=scene.acme.url))
    token = scene.globex.token(tid="acme", tenant="acme", org="acme-org", azp="acme", scope="generate")
    assert await scene.lets_in(token) == "globex"
    # Another issuer's key under the id of one's own.
    scene.globex.pairs["key-1"] = new_pair("key-1")
    assert not await scene.lets_in(scene.globex.token("key-1", iss=scene.acme.url))


async def test_an_issuer_registered_twice(scene: Scene) -> None:
    for tenant in ("globex", "acme"):
        async with scene.world.as_holder(scene.admins[tenant]):
            with pytest.raises(AlreadyExists):
                await scene.world.issuers.RegisterIssuer(
                    pb.RegisterIssuerRequest(url=scene.acme.url, audience="mine", scopes=["generate"])
                )
    for variant in (f"{scene.acme.url}/", scene.acme.url.replace("127.0.0.1", "localhost")):
        async with scene.world.as_holder(scene.admins["globex"]):
            # Another spelling is another issuer, and the discovery document says that it is not this one.
            with pytest.raises(Unavailable):
                await scene.world.issuers.RegisterIssuer(
                    pb.RegisterIssuerRequest(url=variant, audience=AUDIENCE, scopes=["generate"])
                )
    assert await scene.lets_in(scene.acme.token()) == "acme"


async def test_scopes_that_the_maker_lacks_given_by_an_issuer_or_its_tokens(scene: Scene) -> None:
    async with issuer() as more:
        async with scene.world.as_holder(scene.admins["acme"]):
            for scopes in (["limits.write"], ["generate", "organisations.write"]):
                with pytest.raises(PermissionDenied):
                    await scene.world.issuers.RegisterIssuer(
                        pb.RegisterIssuerRequest(url=more.url, audience=AUDIENCE, scopes=scopes)
                    )
            with pytest.raises(NotFound):
                await scene.world.issuers.RegisterIssuer(
                    pb.RegisterIssuerRequest(tenant="globex", url=more.url, audience=AUDIENCE, scopes=["generate"])
                )
        _, narrow = await scene.world.key("acme", scopes=["generate", "keys.write"], models=["small"])
        async with scene.world.as_holder(narrow):
            with pytest.raises(PermissionDenied):
                await scene.world.issuers.RegisterIssuer(
                    pb.RegisterIssuerRequest(url=more.url, audience=AUDIENCE, scopes=["generate"])
                )
        assert not more.asked, "nothing is fetched for somebody who may not register it"
    everything = " ".join(sorted(ROLES[TENANT_ADMIN]))
    answer = await scene.world.authenticate(scene.acme.token(scope=everything, scp=everything, roles=["operator"]))
    assert (await scene.world.caller(answer.assertion)).scopes == {"generate"}


async def test_a_key_that_the_issuer_took_back(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    token = scene.acme.token("key-1")
    assert await scene.lets_in(token) == "acme"
    del scene.acme.pairs["key-1"]
    monkeypatch.setattr(issuer_keys, "REFRESH_S", 0.0)
    monkeypatch.setattr(issuer_keys, "PAUSE_S", 0.0)

    async def refused() -> bool:
        return not await scene.lets_in(token)

    await until(refused)


@pytest.fixture
async def strict(tmp_path: Path) -> AsyncIterator[World]:
    """A world as it is in production, where no issuer may be on this machine."""
    async with world(tmp_path, loopback_issuers=False) as running:
        await running.tenant("acme", "acme-org")
        yield running


@contextlib.asynccontextmanager
async def trap() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server on this machine that nobody may reach, and what reached it."""
    reached: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.append(await reader.read(1))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], reached
    finally:
        server.close()


async def register(world: World, url: str) -> TenantryError:
    """How the issuer is refused."""
    async with world.as_holder(world.operator):
        with pytest.raises(TenantryError) as refused:
            await world.issuers.RegisterIssuer(
                pb.RegisterIssuerRequest(tenant="acme", url=url, audience=AUDIENCE, scopes=["generate"])
            )
    return refused.value


async def test_discovery_at_a_private_address(strict: World) -> None:
    async with trap() as (port, reached):
        hosts = [
            f"127.0.0.1:{port}",
            f"localhost:{port}",
            f"[::1]:{port}",
            f"2130706433:{port}",
            f"0x7f000001:{port}",
            f"127.1:{port}",
            f"[::ffff:127.0.0.1]:{port}",
            "169.254.169.254",
            "metadata.google.internal",
            "10.0.0.1",
            "192.168.1.1",
            "[fd00::1]",
            "[fe80::1]",
            "100.100.100.200",
            "kubernetes.default.svc",
            f"user@127.0.0.1:{port}",
        ]
        for host in hosts:
            for scheme in ("https", "http"):
                assert isinstance(await register(strict, f"{scheme}://{host}"), InvalidArgument), host
        assert not reached


async def test_discovery_of_a_name_that_leads_to_a_private_address(
    strict: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: whatever the name resolved to when it was registered, the connection is made to what was checked."""
    answers: list[str] = []
    loop = asyncio.get_running_loop()
    plain = loop.getaddrinfo

    async def getaddrinfo(host: Any, port: Any, **more: Any) -> Any:
        if host != "login.example.com":
            return await plain(host, port, **more)
        answers.append(host)
        return await plain("127.0.0.1", port, **more)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    async with trap() as (port, reached):
        refused = await register(strict, f"https://login.example.com:{port}")
        assert isinstance(refused, Unavailable) and "127.0.0.1" not in refused.message
        assert answers and not reached


async def test_discovery_that_leads_elsewhere(scene: Scene) -> None:
    """By a redirect, or by where the document says that keys are."""
    async with trap() as (port, reached), issuer() as wicked:
        elsewhere = f"http://127.0.0.1:{port}/"
        for path in (WELL_KNOWN, "/keys"):
            for status in (301, 302, 303, 307, 308):
                wicked.answers = {path: (status, {"location": elsewhere}, b"")}
                assert isinstance(await register(scene.world, wicked.url), Unavailable)
        places = [
            "http://10.0.0.1/keys",
            "https://169.254.169.254/keys",
            "file:///etc/passwd",
            "gopher://127.0.0.1/",
            "https://metadata.google.internal/keys",
            "http://login.example.com/keys",
        ]
        for place in places:
            document = json.dumps({"issuer": wicked.url, "jwks_uri": place}).encode()
            wicked.answers = {WELL_KNOWN: (200, {}, document)}
            # Refused for what it is, before any name is looked up.
            assert "names no place for keys" in (await register(scene.world, wicked.url)).message
        assert not reached


async def test_discovery_that_never_ends(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "READ_S", 0.3)
    held: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert isinstance(await register(scene.world, url), Unavailable)
        assert held
    finally:
        for writer in held:
            writer.close()
        server.close()
