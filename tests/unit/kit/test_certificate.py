"""A service's certificate in its files: what does not fit is said in a sentence, and never served."""

from pathlib import Path

import pytest

from tenantry.kit.certificate import AUTHORITIES, CertificateFiles, read
from tenantry.kit.errors import FailedPrecondition
from tests.harness.clock import FrozenClock
from tests.harness.tls import Certificates, long_ago


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "tls", ["quota", "cache"])


def test_what_is_in_the_files_is_read(certificates: Certificates) -> None:
    made = certificates.put("quota")
    assert read(certificates.folder, "quota") == made


@pytest.mark.parametrize("name", ["quota.pem", "quota.key", AUTHORITIES])
def test_a_missing_file_is_named(certificates: Certificates, name: str) -> None:
    (certificates.folder / name).unlink()
    with pytest.raises(FailedPrecondition, match=name):
        read(certificates.folder, "quota")


@pytest.mark.parametrize("name", ["quota.pem", "quota.key", AUTHORITIES])
def test_junk_is_refused(certificates: Certificates, name: str) -> None:
    (certificates.folder / name).write_text("-----BEGIN NONSENSE-----")
    with pytest.raises(FailedPrecondition, match="PEM"):
        read(certificates.folder, "quota")


def test_a_key_of_another_certificate_is_refused(certificates: Certificates) -> None:
    (certificates.folder / "cache.key").replace(certificates.folder / "quota.key")
    with pytest.raises(FailedPrecondition, match="not of the key"):
        read(certificates.folder, "quota")


def test_a_certificate_of_another_service_is_refused(certificates: Certificates) -> None:
    for kind in ("pem", "key"):
        (certificates.folder / f"cache.{kind}").replace(certificates.folder / f"quota.{kind}")
    with pytest.raises(FailedPrecondition, match="spiffe://tenantry/service/quota alone"):
        read(certificates.folder, "quota")


def test_a_certificate_that_has_ended_is_refused(certificates: Certificates) -> None:
    ended = certificates.made("quota", ends=long_ago())
    (certificates.folder / "quota.pem").write_bytes(ended.chain)
    (certificates.folder / "quota.key").write_bytes(ended.key)
    with pytest.raises(FailedPrecondition, match="has ended"):
        read(certificates.folder, "quota")


def test_a_service_whose_certificate_does_not_fit_does_not_start(certificates: Certificates) -> None:
    with pytest.raises(FailedPrecondition, match=r"prompts\.pem"):
        CertificateFiles(certificates.folder, "prompts", FrozenClock())
