"""Keeps other web pages out: a page in the visitor's browser may neither reach this server under a name of its own (DNS
rebinding) nor send anything to it (cross-site request forgery).

Method of the second part: the request headers `Sec-Fetch-Site` and `Origin`, which scripts cannot set (W3C Fetch
Metadata; OWASP Cross-Site Request Forgery Prevention Cheat Sheet).
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cilf.demo import texts
from cilf.demo.server.settings import ANY_HOST, LOOPBACK, Settings

_READS = ("GET", "HEAD", "OPTIONS")
_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host")


class OriginCheck:
    """ASGI middleware, given to Gradio through `app_kwargs`; it stands before every route, MCP's too.

    - Host: a page for this computer alone answers to this computer's loopback names, one in a network also to IP
      addresses, which no DNS answer can forge, and the computer's own name. Where a proxy renames the page (a Space,
      `--share`, notebooks) any name is accepted, since the page is public or its proxy asks for a login.
    - Origin: what sends anything has to come from the page itself, framed or not. Programs send no Origin.
    - Proxies: a page for this computer alone lets visitors load weights, so it answers through no proxy.

    `settings.trusted_hosts` are accepted as Host and as Origin.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._alone = settings.alone
        self._trusted = frozenset(settings.trusted_hosts)
        self._any_host = ANY_HOST in self._trusted or (settings.behind_proxy and not self._trusted)
        self._names = self._trusted | set(LOOPBACK)
        if not self._alone:
            self._names |= {settings.host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self._problem(scope) if scope["type"] == "http" else ""
        if problem:
            await JSONResponse({"detail": problem}, 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _problem(self, scope: Scope) -> str:
        headers = Headers(scope=scope)
        host = _host_name("//" + headers.get("host", ""))
        if not (self._any_host or host in self._names or (not self._alone and _is_address(host))):
            return texts.FOREIGN_HOST
        if self._alone and any(name in headers for name in _PROXY_HEADERS):
            return texts.FOREIGN_HOST
        if scope["method"] in _READS or self._comes_from_itself(headers):
            return ""
        return texts.FOREIGN_ORIGIN

    def _comes_from_itself(self, headers: Headers) -> bool:
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if ANY_HOST in self._trusted or (site is None and origin is None):
            return True
        if _host_name(origin or "") in self._trusted:
            return True
        if self._alone:  # a proxy that tells nothing of itself still hands on the browser's Origin
            return site in (None, "same-origin", "none") and (origin is None or _is_same(headers, origin))
        return site in ("same-origin", "none") if site is not None else _is_same(headers, origin or "")


def _is_same(headers: Headers, origin: str) -> bool:
    """Whether an Origin, `https://name:port`, names the host and port that were asked."""
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _host_name(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:  # "[x", which is no address
        return ""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
