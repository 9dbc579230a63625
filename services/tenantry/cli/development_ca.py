"""A CA for development: who holds its key is every service of the mesh. Production has one of its own.

P-256 throughout, since gRPC and Envoy take no Ed25519 certificate unless they are told to.
"""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
CERTIFICATE_DAYS = 90
# Clocks of machines differ, and a new certificate serves at once.
_EARLIER = timedelta(minutes=5)
_NOTHING = dict.fromkeys(
    (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ),
    False,
)


class DevelopmentCa:
    """A CA's certificate and key, both PEM."""

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self.certificate = certificate
        self.key = key
        self._own = x509.load_pem_x509_certificate(certificate)
        private = load_pem_private_key(key, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != self._own.public_key():
            raise ValueError("the key is not the CA's")
        self._private = private

    @classmethod
    def made(cls) -> "DevelopmentCa":
        """A new one."""
        private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Tenantry development CA")])
        now = datetime.now(UTC)
        signed = (
            _builder(private.public_key(), name, name, now, now + timedelta(days=CA_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(**_NOTHING | {"key_cert_sign": True, "crl_sign": True}), critical=True)
            .sign(private, hashes.SHA256())
        )
        return cls(signed.public_bytes(Encoding.PEM), _pem(private))

    def issue(self, uri: str, host: str, ends: datetime | None = None) -> tuple[bytes, bytes]:
        """A new certificate of this name and host, for either end of a connection, and its key. It ends after 90 days, or
        with the CA."""
        private = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        ends = min(ends or now + timedelta(days=CERTIFICATE_DAYS), self._own.not_valid_after_utc)
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri), x509.DNSName(host)])
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._private.public_key())
        signed = (
            _builder(private.public_key(), x509.Name([]), self._own.subject, min(now, ends - _EARLIER), ends)
            .add_extension(names, critical=True)  # as it must be where the subject is empty
            .add_extension(both, critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**_NOTHING | {"digital_signature": True}), critical=True)
            .add_extension(authority, critical=False)
            .sign(self._private, hashes.SHA256())
        )
        return signed.public_bytes(Encoding.PEM), _pem(private)


def _builder(
    public: ec.EllipticCurvePublicKey, name: x509.Name, issuer: x509.Name, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
