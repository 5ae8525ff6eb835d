"""Serving the page: every setting of Gradio's, once the page is put together."""

import errno
import importlib.util
import socket
from collections.abc import Sequence

import gradio as gr
from starlette.middleware import Middleware
from starlette.routing import Route

from cilf.demo import theme
from cilf.demo.limits import MAX_PHOTO
from cilf.demo.server import gradio_patches
from cilf.demo.server.body_limit import BodyLimit
from cilf.demo.server.full_line import FullLine
from cilf.demo.server.guard import Guard
from cilf.demo.server.malformed import MalformedRequests
from cilf.demo.server.origin_check import OriginCheck
from cilf.demo.server.response_headers import ResponseHeaders
from cilf.demo.server.settings import Settings
from cilf.errors import UsageError

# Gradio keeps each page's last contents in memory until this many newer pages have come.
PAGES_KEPT = 100


def check(settings: Settings) -> None:
    """Make sure that the page can be served so, before anything is loaded for it.

    Raises:
        UsageError: MCP is asked for and not installed, or nothing can listen at the host and port.
    """
    if settings.mcp and importlib.util.find_spec("mcp") is None:
        raise UsageError('--mcp needs the package mcp; install it with `pip install -e ".[mcp]"`')
    if settings.port is not None:
        _try_to_listen(settings.host, settings.port)


def _try_to_listen(host: str, port: int) -> None:
    if not 0 < port < 1 << 16:
        raise UsageError(f"there is no port {port}; give --port a number from 1 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Gradio does
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UsageError(_port_is_taken(port)) from None
        raise UsageError(
            f"cannot listen on {host!r}, port {port} ({error.strerror}); give another --host or --port"
        ) from None


def _port_is_taken(port: int | None) -> str:
    which = "every port that was tried is" if port is None else f"port {port} is"
    return f"{which} taken by another program; choose another one with --port"


def middleware(settings: Settings) -> list[Middleware]:
    """Middleware around Gradio's routes and ours, the outermost first."""
    return [
        Middleware(ResponseHeaders, settings=settings),
        Middleware(OriginCheck, settings=settings),
        Middleware(BodyLimit),
        Middleware(FullLine),
        Middleware(Guard),
        Middleware(MalformedRequests),
    ]


def serve(page: gr.Blocks, settings: Settings, routes: Sequence[Route]) -> None:
    """Serve the page, and `routes` besides Gradio's own, until the program is stopped. Everything that the page loads
    comes from its own address.

    Raises:
        UsageError: no port is free.
    """
    # Nobody passes the queue by. Places are told once a second: by itself Gradio tells all who wait after each call.
    page.queue(max_size=settings.queue_size, api_open=False, status_update_rate=1.0)
    gradio_patches.apply(page)
    try:
        page.launch(
            server_name=settings.host,
            server_port=settings.port,
            share=settings.share,
            mcp_server=settings.mcp,
            theme=theme.make_theme(),
            css_paths=theme.STYLE_SHEETS,
            head=theme.HEAD,
            favicon_path=theme.FAVICON,
            footer_links=["api"],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            max_file_size=MAX_PHOTO,
            state_session_capacity=PAGES_KEPT,
            app_kwargs={"routes": list(routes), "middleware": middleware(settings)},
        )
    except OSError as error:
        if "empty port" not in str(error):
            raise
        raise UsageError(_port_is_taken(settings.port)) from None
