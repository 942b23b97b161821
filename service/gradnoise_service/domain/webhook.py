"""Webhooks: which URLs a study may notify, at which addresses, and how a message is signed."""

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from urllib.parse import unquote, urlsplit

from gradnoise_service.domain.errors import FieldFault, InvalidSpecError

URL_PATTERN = r"^https?://[^\s@\\#]+$"
SECRET_PATTERN = r"whsec_([A-Za-z0-9+/]{4}){8,}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
NAT64 = IPv6Network("64:ff9b::/96")


def is_listed(url: str, allowed: Iterable[str]) -> bool:
    """Return whether a URL is one of those allowed, or is below one of them.

    >>> is_listed("https://hooks.example.org/a/b", ["https://hooks.example.org/a"])
    True
    >>> is_listed("https://hooks.example.org/ab", ["https://hooks.example.org/a"])
    False
    """
    asked = urlsplit(url)
    if ".." in unquote(unquote(asked.path)).split("/"):
        return False
    return any(
        (asked.scheme, asked.netloc) == (entry.scheme, entry.netloc)
        and (asked.path.rstrip("/") + "/").startswith(entry.path.rstrip("/") + "/")
        for entry in map(urlsplit, allowed)
    )


def check_urls(urls: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise InvalidSpecError if a study's `notify` has a URL that is not allowed."""
    legal = (
        f"a URL that is, or is below, one of: {', '.join(allowed)}"
        if allowed
        else "left out; the operator allows URLs with GRADNOISE_NOTIFY_URLS"
    )
    faults = [
        FieldFault(field=f"notify.{i}", value=url, message="is not allowed here", legal=legal)
        for i, url in enumerate(urls)
        if not is_listed(url, allowed)
    ]
    if faults:
        raise InvalidSpecError(faults)


def is_permitted(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Return whether a message may be sent to an IP address: a public one, or in a network given.

    An IPv6 address that stands for an IPv4 address is judged as the latter.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour
        if ip in NAT64:
            embedded = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = embedded or ip
    return any(ip in network for network in networks) or (ip.is_global and not ip.is_multicast)


def headers(secret: str, key: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a message by Standard Webhooks (standardwebhooks.com, version 1).

    The signature is base64(HMAC-SHA256(k, "id.timestamp.body")).

    Args:
        secret: `whsec_`, then k in base64.
        key: The id of the message.
        timestamp: The time of sending, in seconds since 1970.
        body: The body.
    """
    signed = f"{key}.{timestamp}.".encode() + body
    mac = hmac.digest(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256)
    return {
        "webhook-id": key,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
        "Content-Type": "application/json",
        "User-Agent": "gradnoise",
    }
