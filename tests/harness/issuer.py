"""A small OIDC issuer on this machine: its two documents over http, and tokens signed by its keys.

async with issuer() as running:
    token = running.token(sub="ada")
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "tenantry"
WELL_KNOWN = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class SigningPair:
    """A private key, the algorithm it is for, and its public half as a JWK."""

    key: Any
    algorithm: str
    jwk: dict[str, Any]


def new_pair(key_id: str, algorithm: str = "ES256") -> SigningPair:
    """A key pair of an issuer."""
    if algorithm == "RS256":
        key: Any = rsa.generate_private_key(65537, 2048)
        jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif algorithm == "EdDSA":
        key = Ed25519PrivateKey.generate()
        jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    public = {name: value for name, value in jwk.items() if name != "key_ops"}
    return SigningPair(key, algorithm, public | {"kid": key_id, "use": "sig"})


@dataclass
class Issuer:
    """A running issuer. A test changes `pairs`, or what is answered at a path: (status, headers, body)."""

    url: str
    pairs: dict[str, SigningPair]
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    now: Callable[[], float] = time.time

    def claims(self, **more: Any) -> dict[str, Any]:
        """Claims that hold, with changes; None leaves one out."""
        now = int(self.now())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 300}
        return {name: value for name, value in (usual | more).items() if value is not None}

    def token(self, key_id: str = "", *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token signed by the key (the first, unless named)."""
        key_id = key_id or next(iter(self.pairs))
        pair = self.pairs[key_id]
        header = {"kid": key_id, "typ": "JWT"} | (headers or {})
        return jwt.encode(self.claims(**claims), pair.key, pair.algorithm, headers=header)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """What is answered at a path."""
        self.asked.append(path)
        if path in self.answers:
            return self.answers[path]
        documents: dict[str, Any] = {
            WELL_KNOWN: {"issuer": self.url, "jwks_uri": f"{self.url}/keys"},
            "/keys": {"keys": [pair.jwk for pair in self.pairs.values()]},
        }
        if path not in documents:
            return 404, {}, b""
        return 200, {"content-type": "application/json"}, json.dumps(documents[path]).encode()


@asynccontextmanager
async def issuer(*algorithms: str) -> AsyncIterator[Issuer]:
    """An issuer with a key of each algorithm (ES256 unless given), named `key-0` and so on."""
    pairs = {f"key-{place}": new_pair(f"key-{place}", one) for place, one in enumerate(algorithms or ("ES256",))}
    running = Issuer("", pairs)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            status, headers, body = running.answer(head.split(b" ")[1].decode())
            lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", "connection: close"]
            lines += [f"{name}: {value}" for name, value in headers.items()]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        server.close()
