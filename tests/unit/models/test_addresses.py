"""Which addresses a provider may have, in all the spellings of those that it may not."""

import pytest

from tenantry.models.addresses import fault_of, is_loopback, is_public

GOOD = [
    "https://api.openai.com/v1",
    "https://api.anthropic.com",
    "https://llm.example.com:8443/openai/v1/",
    "https://8.8.8.8/v1",
    "https://[2606:4700:4700::1111]/v1",
]
BAD = [
    "http://api.openai.com/v1",
    "ftp://api.openai.com",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_",
    "https://",
    "https:///v1",
    "//api.openai.com",
    "api.openai.com",
    "https://127.0.0.1/v1",
    "https://localhost/v1",
    "https://LOCALHOST/v1",
    "https://localhost./v1",
    "https://foo.localhost/",
    "https://0.0.0.0/",
    "https://0/",
    "https://10.0.0.1/",
    "https://172.16.3.4/",
    "https://192.168.1.1/",
    "https://100.64.0.1/",
    "https://169.254.169.254/latest/meta-data",
    "https://[fe80::1]/",
    "https://[fd00:ec2::254]/",
    "https://[::1]/",
    "https://[::]/",
    "https://[::ffff:10.0.0.1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://127.1/",
    "https://0177.0.0.1/",
    "https://1.2.3.4.5/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://metadata/",
    "https://redis/",
    "https://models.tenantry.svc/",
    "https://printer.local/",
    "https://user@api.openai.com/",
    "https://user:pass@api.openai.com/",
    "https://api.openai.com@127.0.0.1/",
    "https://api.openai.com\\@127.0.0.1/",
    "https://api.openai.com#@127.0.0.1/",
    "https://api.openai.com?x=1",
    "https://api.openai.com/v1?x=1",
    "https://api.openai.com/v1#x",
    "https://api.openai.com/../admin",
    "https://api.openai.com/%2e%2e/admin",
    "https://api.openai.com:0/",
    "https://api.openai.com:99999/",
    "https://api.openai.com:x/",
    " https://api.openai.com",
    "https://api.openai.com ",
    "https://api.openai.com\n.evil.example/",
    "https://api.openai.com\t/",
    "https://аpi.openai.com/",
    "https://１２７.0.0.1/",
    "https://[::1%25eth0]/",
    "https://[fe80::1%25eth0]/",
    f"https://api.example.com/{'a' * 600}",
]


@pytest.mark.parametrize("url", GOOD)
def test_a_public_address_over_https_is_allowed(url: str) -> None:
    assert fault_of(url, loopback=False) == ""


@pytest.mark.parametrize("url", BAD)
def test_another_is_refused_with_a_sentence_that_does_not_repeat_it(url: str) -> None:
    fault = fault_of(url, loopback=False)
    assert fault
    assert url not in fault


LOOPBACK = (
    "http://127.0.0.1:8080/v1",
    "http://localhost:11434/v1",
    "http://[::1]:8080/v1",
    "https://127.0.0.1:8443/v1",
)


@pytest.mark.parametrize("url", LOOPBACK)
def test_this_machine_is_allowed_where_the_setting_says_so(url: str) -> None:
    assert fault_of(url, loopback=True) == ""
    assert fault_of(url, loopback=False)


def test_with_the_setting_other_private_addresses_and_plain_http_stay_refused() -> None:
    here = ("localhost", "127.0.0.1/v1", "[::1")
    allowed = [url for url in BAD if not fault_of(url, loopback=True)]
    assert allowed and all(url.lower().removeprefix("https://").startswith(here) for url in allowed)


def test_what_a_name_may_lead_to() -> None:
    assert is_public("93.184.216.34") and is_public("2606:4700::1")
    for address in ("10.1.1.1", "127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "168.63.129.16", "x", ""):
        assert not is_public(address), address
    assert is_loopback("127.8.8.8") and is_loopback("::1") and not is_loopback("10.0.0.1")
