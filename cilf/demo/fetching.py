"""A file from an http(s) address that a visitor names: of bounded size, in bounded time, and never from inside this
computer's own network.

Gradio's download makes the same checks of the address, but reads whatever comes, all of it, before anybody can look at
its length.
"""

import asyncio
from urllib.parse import urljoin

import httpx
import safehttpx
from gradio.processing_utils import PUBLIC_HOSTNAME_WHITELIST

from cilf.demo.archive import too_large
from cilf.errors import PhotoError

# A photo of the largest size comes in this time over 10 Mbit/s; the next program waits as long.
SECONDS = 60.0

MAX_REDIRECTS = 10


async def fetch(address: str, name: str, most: int) -> bytes:
    """The content behind a public http(s) address.

    Args:
        address: as it came from outside. It and every address that it redirects to is asked only if its host is a
            public one, under the very number that was checked.
        name: stands for it in the sentences of errors.
        most: so many bytes it may hold; it is read no further.

    Raises:
        PhotoError: it holds more, or cannot be fetched.
    """
    try:
        async with asyncio.timeout(SECONDS):
            for _ in range(MAX_REDIRECTS):
                data, further = await _ask(address, name, most)
                if further is None:
                    return data
                address = urljoin(address, further)
            raise httpx.TooManyRedirects("it leads on and on")
    except PhotoError:
        raise
    except Exception as error:  # whatever the network and the other side come up with
        raise PhotoError(
            f"'{name}' cannot be fetched ({type(error).__name__}); give a public http(s) address of a picture, or "
            "upload it"
        ) from None


async def _ask(address: str, name: str, most: int) -> tuple[bytes, str | None]:
    """The content, or where it is to be had instead."""
    # Not packed: what a packed answer unfolds to is not known before it has unfolded.
    headers = {"Accept-Encoding": "identity"}
    async with (
        httpx.AsyncClient(transport=await _transport(address), headers=headers) as client,
        client.stream("GET", address, follow_redirects=False) as response,
    ):
        if response.has_redirect_location:
            return b"", response.headers["Location"]
        response.raise_for_status()
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise httpx.DecodingError("it is packed")
        if int(response.headers.get("Content-Length", 0)) > most:
            raise PhotoError(too_large(name, most))
        data = bytearray()
        async for chunk in response.aiter_raw():
            data += chunk
            if len(data) > most:
                raise PhotoError(too_large(name, most))
        return bytes(data), None


async def _transport(address: str) -> httpx.AsyncBaseTransport | None:
    """Leads to the number that was found to be public; None for hosts that Gradio trusts, as the Hub's on a Space."""
    url = httpx.URL(address)
    if url.scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol("it leads elsewhere")
    if safehttpx.matches_domain_whitelist(url.host, PUBLIC_HOSTNAME_WHITELIST):
        return None
    return safehttpx.AsyncSecureTransport(await safehttpx.async_validate_url(url.host))
