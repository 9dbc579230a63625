"""Which JWTs of an issuer are credentials. The attacks are tried over the whole service in tests/attack."""

import time
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, RSAAlgorithm
from jwt.utils import base64url_encode

from tenantry.tenancy import oidc
from tests.harness.issuer import AUDIENCE, Issuer, new_pair

NOW = time.time()
ISSUER = Issuer(
    "https://login.example.com",
    {name: new_pair(name, name) for name in ("ES256", "RS256", "EdDSA")},
    now=lambda: NOW,
)
KEYS = oidc.keys_of({"keys": [pair.jwk for pair in ISSUER.pairs.values()]})


def verified(token: str, now: float = NOW) -> oidc.Claims | None:
    claimed = oidc.claimed(token)
    key = KEYS.get((claimed.key_id, claimed.algorithm)) if claimed else None
    return oidc.verify(token, key, ISSUER.url, AUDIENCE, now) if key else None


@pytest.mark.parametrize("key_id", list(ISSUER.pairs))
@pytest.mark.parametrize("kind", ["JWT", "jwt", "at+jwt", "application/at+jwt"])
def test_a_token_that_holds_is_taken(key_id: str, kind: str) -> None:
    end = int(NOW) + 90
    token = ISSUER.token(key_id, headers={"typ": kind}, scope="generate documents.read", exp=end)
    assert verified(token) == oidc.Claims("ada", frozenset({"generate", "documents.read"}), float(end))


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": int(NOW)},
        {"exp": int(NOW) - 1},
        {"nbf": int(NOW) + 62},
        {"iat": int(NOW) + 62},
        {"aud": "other"},
        {"aud": ["other", "another"]},
        {"iss": "https://login.example.com/"},
        {"iss": "https://other.example.com"},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": 7},
        {"scope": ["generate"]},
        {"exp": float("inf")},
        {"exp": float("nan")},
        {"exp": True},
        {"exp": "9999999999"},
        {"iat": "now"},
        {"nbf": "now"},
        *({name: None} for name in ("iss", "aud", "sub", "iat", "exp")),
    ],
    ids=" ".join,  # not their values, which hold the time
)
def test_a_token_that_says_something_else_is_refused(claims: dict[str, Any]) -> None:
    assert verified(ISSUER.token(**claims)) is None


def test_clocks_may_differ_by_a_minute_at_the_beginning_and_by_nothing_at_the_end() -> None:
    early = int(NOW) + 59
    assert verified(ISSUER.token(iat=early, nbf=early)) is not None
    assert verified(ISSUER.token(aud=["other", AUDIENCE], exp=int(NOW) + 1)) is not None


@pytest.mark.parametrize(
    "headers",
    [{"typ": "logout+jwt"}, {"typ": "dpop+jwt"}, {"typ": None}, {"kid": ""}, {"crit": ["exp"]}, {"typ": 7}],
    ids=" ".join,  # not their values, which hold the time
)
def test_a_token_of_another_kind_is_refused(headers: dict[str, Any]) -> None:
    assert oidc.claimed(ISSUER.token(headers=headers)) is None


@pytest.mark.parametrize(
    "junk", ["", ".", "..", "a.b.c", "é.é.é", "x" * 8192, "." * 8192, "e30.e30.", "[]..", "bnVsbA.bnVsbA.x"]
)
def test_junk_is_no_token(junk: str) -> None:
    assert oidc.claimed(junk) is None


def test_deeply_nested_json_is_no_token() -> None:
    nested = base64url_encode(b"[" * 6000).decode()
    assert oidc.claimed(f"{nested}.{nested}.") is None
    header = ISSUER.token().partition(".")[0]
    assert oidc.claimed(f"{header}.{nested}.") is None


def jwk_of(**more: Any) -> dict[str, Any]:
    return {name: value for name, value in ({**ISSUER.pairs["ES256"].jwk, **more}).items() if value is not None}


def rsa_jwk(bits: int, exponent: int = 65537) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(rsa.generate_private_key(exponent, bits).public_key(), as_dict=True), "kid": "k"}


USELESS: dict[str, dict[str, Any]] = {
    "a shared secret": {**HMACAlgorithm.to_jwk(b"s" * 32, as_dict=True), "kid": "k"},
    "no id": jwk_of(kid=None),
    "a number as id": jwk_of(kid=7),
    "for encryption": jwk_of(use="enc"),
    "for signing alone": jwk_of(key_ops=["sign"]),
    "of another algorithm": jwk_of(alg="HS256"),
    "of none": jwk_of(alg="none"),
    "a private key": {
        **ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True),
        "kid": "k",
        "key_ops": ["verify"],
    },
    "another curve": {
        **ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True),
        "kid": "k",
    },
    "a point on no curve": jwk_of(x="AAAA"),
    "a short RSA key": rsa_jwk(1024),
    "an endless RSA key": {"kty": "RSA", "kid": "k", "n": "A" * 100_000, "e": "AQAB"},
    "nothing": {},
}


@pytest.mark.parametrize("jwk", USELESS.values(), ids=list(USELESS))
def test_a_key_that_is_of_no_use_is_left_out(jwk: dict[str, Any]) -> None:
    assert not oidc.keys_of({"keys": [jwk, 7, None]})


@pytest.mark.parametrize("document", [None, [], {}, {"keys": {}}, "keys"])
def test_what_is_no_key_set_is_refused(document: object) -> None:
    with pytest.raises(ValueError):
        oidc.keys_of(document)


def test_a_key_set_has_a_largest_size() -> None:
    many = [ISSUER.pairs["EdDSA"].jwk | {"kid": str(number)} for number in range(oidc.MOST_KEYS + 50)]
    assert len(oidc.keys_of({"keys": many})) == oidc.MOST_KEYS


def test_equal_keys_have_equal_fingerprints() -> None:
    again = oidc.keys_of({"keys": [ISSUER.pairs["ES256"].jwk]})
    (place,) = again
    assert again[place].fingerprint == KEYS[place].fingerprint
    assert replace(again[place]).fingerprint != KEYS["RS256", "RS256"].fingerprint
