"""A file from an http(s) address that a visitor names: of bounded size, in bounded time, and never from inside this
computer's own network.

Gradio's download checks the address too, but reads whatever comes, all of it, before anybody knows its length; it
takes more numbers for public than are, and asks Google for hosts that it cannot find.
"""

import asyncio
import ipaddress
import socket
import time
from dataclasses import dataclass
from urllib.parse import urljoin

import httpx
import safehttpx
from gradio.processing_utils import PUBLIC_HOSTNAME_WHITELIST

from cilf.demo.limits import ADDRESS_S, ADDRESSES_S, MAX_ADDRESS, MAX_REDIRECTS
from cilf.demo.uploads.images import too_large
from cilf.errors import PhotoError

# What is given out of IPv6 (RFC 4291, IANA); outside lie this network's own numbers, and IPv4 ones in disguise.
GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
PROTOCOL_ASSIGNMENTS = ipaddress.IPv4Network("192.0.0.0/24")


@dataclass
class Budget:
    """What is left of the time, in seconds, that the addresses of one request may take together."""

    left: float = ADDRESSES_S


async def fetch(address: str, name: str, limit: int, budget: Budget) -> bytes:
    """The content behind a public http(s) address.

    Args:
        address: as it came from outside. It and every address that it redirects to is asked only if its host is a
            public one, under the very number that was checked.
        name: stands for it in the sentences of errors.
        limit: so many bytes it may hold; it is read no further.
        budget: the time it takes is taken from here.

    Raises:
        PhotoError: it holds more, is too long, has no time left, or cannot be fetched.
    """
    if len(address) > MAX_ADDRESS:
        raise PhotoError(
            f"the address of '{name}' has {len(address):,} characters; give one of at most {MAX_ADDRESS:,}, or upload "
            "the picture"
        )
    began = time.monotonic()
    try:
        if budget.left <= 0:
            raise TimeoutError
        async with asyncio.timeout(min(ADDRESS_S, budget.left)):
            for _ in range(1 + MAX_REDIRECTS):
                data, further = await _ask(address, name, limit)
                if further is None:
                    return data
                address = urljoin(address, further)
            raise httpx.TooManyRedirects("it leads on and on")
    except PhotoError:
        raise
    except TimeoutError:
        raise PhotoError(
            f"'{name}' did not come in time, for which an address has {ADDRESS_S:.0f} seconds and all those of a "
            f"request {ADDRESSES_S:.0f}; ask for fewer at a time, or upload it"
        ) from None
    except Exception as error:  # whatever the network and the other side come up with
        raise PhotoError(_not_fetched(name, type(error).__name__)) from None
    finally:
        budget.left -= time.monotonic() - began


async def _ask(address: str, name: str, limit: int) -> tuple[bytes, str | None]:
    """The content, or where it is to be had instead."""
    # Not packed: what a packed answer unfolds to is not known before it has unfolded.
    headers = {"Accept-Encoding": "identity"}
    async with (
        httpx.AsyncClient(transport=await _transport(address, name), headers=headers) as client,
        client.stream("GET", address, follow_redirects=False) as response,
    ):
        if response.has_redirect_location:
            return b"", response.headers["Location"]
        response.raise_for_status()
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise httpx.DecodingError("it is packed")
        if int(response.headers.get("Content-Length", 0)) > limit:
            raise PhotoError(too_large(name, limit))
        data = bytearray()
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > limit:
                raise PhotoError(too_large(name, limit))
        return bytes(data), None


async def _transport(address: str, name: str) -> httpx.AsyncBaseTransport | None:
    """A transport to the public number; None for hosts that Gradio trusts, as the Hub's on a Space.

    Raises:
        PhotoError: there is no public number; whether there is one within this network stays untold.
    """
    url = httpx.URL(address)
    if url.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol("it leads elsewhere")
    if safehttpx.matches_domain_whitelist(url.host, PUBLIC_HOSTNAME_WHITELIST):
        return None
    try:
        number = await public_number(url.host)
    except (OSError, ValueError):
        raise PhotoError(_not_fetched(name, "no public address")) from None
    return safehttpx.AsyncSecureTransport(number)


def _not_fetched(name: str, why: str) -> str:
    return f"'{name}' cannot be fetched ({why}); give a public http(s) address of a picture, or upload it"


async def public_number(host: str) -> str:
    """The first public number (IP address) of a host, as this computer's own resolver knows it.

    Raises:
        OSError: the host is not known.
        ValueError: none of its numbers is public.
    """
    results = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    for *_, address in results:
        if is_public(str(address[0])):
            return str(address[0])
    raise ValueError("it is not public")


def is_public(number: str) -> bool:
    """Whether a number (IP address) is out in the Internet: no private network's, no provider's, no cloud's inside, and
    no way to one of them through a number of the other kind (6to4, Teredo, IPv4 written as IPv6)."""
    ip = ipaddress.ip_address(number)
    if isinstance(ip, ipaddress.IPv6Address):
        return ip in GLOBAL_UNICAST and ip.is_global and ip.sixtofour is None and ip.teredo is None
    return ip.is_global and not ip.is_multicast and ip not in PROTOCOL_ASSIGNMENTS
