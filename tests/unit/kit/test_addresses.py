"""Which addresses a provider may have."""

import pytest

from tenantry.kit.addresses import fault_of, is_public


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1",
        "https://llm.example.com",
        "https://llm.example.com:8443/a/b-c/v1/",
        "https://1.1.1.1/v1",
        "https://[2606:4700:4700::1111]/v1",
    ],
)
def test_public_https_addresses_are_allowed(url: str) -> None:
    assert not fault_of(url, loopback=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://localhost:8000", "http://[::1]:8000/v1"])
def test_loopback_is_allowed_only_by_the_setting(url: str) -> None:
    assert not fault_of(url, loopback=True)
    assert fault_of(url, loopback=False)
    assert fault_of(url.replace("http", "https", 1), loopback=False)


REFUSED = [
    "http://api.openai.com/v1",
    "http://10.0.0.1/v1",
    "ftp://api.openai.com",
    "file:///etc/passwd",
    "https://",
    "https:///v1",
    "//api.openai.com",
    "https://10.0.0.1/v1",
    "https://172.16.3.4",
    "https://192.168.1.1",
    "https://100.64.0.1",
    "https://100.100.100.200",
    "https://168.63.129.16",
    "https://169.254.169.254/latest/meta-data",
    "https://0.0.0.0",
    "https://224.0.0.1",
    "https://255.255.255.255",
    "https://[::]",
    "https://[::ffff:10.0.0.1]",
    "https://[::ffff:169.254.169.254]",
    "https://[fd00:ec2::254]",
    "https://[fe80::1]",
    "https://[64:ff9b::a9fe:a9fe]",
    "https://[2002:a9fe:a9fe::1]",
    "https://2130706433",
    "https://0x7f000001",
    "https://0x7f.1",
    "https://127.1",
    "https://0177.0.0.1",
    "https://a.0x10",
    "https://metadata.google.internal",
    "https://metadata",
    "https://db.cluster.local",
    "https://kubernetes.default.svc",
    "https://x.localhost",
    "https://user:pass@api.openai.com",
    "https://api.openai.com@10.0.0.1",
    "https://api.openai.com\\@10.0.0.1",
    "https://api.openai.com/v1?key=x",
    "https://api.openai.com/v1#x",
    "https://api.openai.com:0/v1",
    "https://api.openai.com:99999/v1",
    "https://api.openai.com/../admin",
    "https://api.openai.com/v1 ",
    " https://api.openai.com/v1",
    "https://api.openai.com/v1\r\nhost: x",
    "https://ápi.openai.com",
    "https://１２７.0.0.1",
    "https://api.openai.com.",
    "https://-api.openai.com",
    "https://api_x.openai.com",
    "https://" + "a." * 300 + "com",
]


@pytest.mark.parametrize("url", REFUSED)
@pytest.mark.parametrize("loopback", [False, True])
def test_private_metadata_and_malformed_addresses_are_refused(url: str, loopback: bool) -> None:
    assert fault_of(url, loopback=loopback)


def test_what_is_no_ip_address_is_not_public() -> None:
    assert not is_public("api.openai.com")
    assert not is_public("fe80::1%eth0")
