"""Webhooks reach only listed URLs at permitted addresses, and are signed by the standard."""

import base64
import hashlib
import hmac
from ipaddress import ip_network

import pytest

from gradnoise_service.domain.webhook import headers, is_listed, is_permitted

ALLOWED = ["https://hooks.example.org/team", "http://127.0.0.1:9000/"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://hooks.example.org/team", True),
        ("https://hooks.example.org/team/", True),
        ("https://hooks.example.org/team/a?b=c", True),
        ("http://127.0.0.1:9000/x", True),
        ("https://hooks.example.org/teams", False),
        ("https://hooks.example.org/", False),
        ("http://hooks.example.org/team", False),
        ("https://hooks.example.org:8443/team", False),
        ("https://hooks.example.org.evil.example/team", False),
        ("https://hooks.example.org/team/../admin", False),
        ("https://hooks.example.org/team/%2e%2e/admin", False),
        ("https://hooks.example.org/team/%252e%252e/admin", False),
        ("http://127.0.0.1:90001/x", False),
    ],
)
def test_url_is_listed_if_an_entry_is_its_beginning(url: str, expected: bool) -> None:
    assert is_listed(url, ALLOWED) == expected


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1:248:1893:25c8:1946", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.17.0.1", False),
        ("192.168.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::10.0.0.1", False),
    ],
)
def test_only_public_addresses_are_permitted(address: str, expected: bool) -> None:
    assert is_permitted(address, []) == expected


def test_networks_are_permitted_by_name() -> None:
    networks = [ip_network("10.1.0.0/16")]
    assert is_permitted("10.1.2.3", networks)
    assert is_permitted("::ffff:10.1.2.3", networks)
    assert not is_permitted("10.2.2.3", networks)


def test_signature_is_that_of_standard_webhooks() -> None:
    """The example of its specification, computed from its formula."""
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    body = b'{"test": 2432232314}'
    sent = headers(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert sent["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330." + body
    mac = hmac.new(key, signed, hashlib.sha256).digest()
    assert sent["webhook-signature"] == "v1," + base64.b64encode(mac).decode()
