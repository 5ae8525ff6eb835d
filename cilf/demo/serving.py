"""Serving the page: everything that is told to Gradio once the page is put together."""

import importlib.util
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import processing_utils, route_utils
from gradio import routes as routing
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from cilf.demo import handed_in, theme
from cilf.demo.archive import MAX_PHOTO
from cilf.demo.settings import Settings
from cilf.errors import UsageError

# Gradio keeps each page's last contents in memory until this many newer pages have come.
PAGES_KEPT = 100


class _Apart(route_utils.GradioUploadFile):
    """An upload in a folder of its own. Gradio names the folder after the content alone, and of two visitors with the
    same photo the first one's answer would remove the second one's file."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sha.update(secrets.token_bytes(16))


class _Tidy(route_utils.GradioMultiPartParser):
    """Reads an upload, and removes what has come of it when the visitor goes away in its middle."""

    async def parse(self) -> FormData:
        try:
            return await super().parse()
        except BaseException:
            for file in self._files_to_close_on_error:
                file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


class _Vanishing(FileResponse):
    """A file's content. An upload may be read and removed while the browser asks for it, and the error that tells of it
    would put the visitor's name for it into the log."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await super().__call__(scope, receive, sending)
        except (FileNotFoundError, RuntimeError):
            if not begun:
                await Response(status_code=404)(scope, receive, send)


async def no_relay(url: str, request: Request) -> Response:
    """In the place of Gradio's relay, which brings anybody any public address, of any length, through this computer."""
    return Response(status_code=403)


def check(settings: Settings) -> None:
    """Make sure that the page can be served so, before anything is loaded for it.

    Raises:
        UsageError: MCP is asked for and not installed.
    """
    if settings.mcp and importlib.util.find_spec("mcp") is None:
        raise UsageError('--mcp needs the package mcp; install it with `pip install -e ".[mcp]"`')


def serve(page: gr.Blocks, settings: Settings, routes: Sequence[Route]) -> None:
    """Serve the page, and `routes` beside Gradio's own, until the program is stopped. Everything that the page loads
    comes from its own address."""
    # There are no settings for these.
    route_utils.GradioUploadFile = _Apart  # type: ignore[misc]
    route_utils.GradioMultiPartParser = _Tidy  # type: ignore[misc]
    route_utils.FileResponse = _Vanishing  # type: ignore[misc]
    routing.secure_url_stream_response = no_relay
    processing_utils.async_ssrf_protected_download = handed_in.postponed
    page.queue(max_size=settings.queue_size).launch(
        server_name=settings.host,
        server_port=settings.port,
        share=settings.share,
        mcp_server=settings.mcp,
        theme=theme.make_theme(),
        css_paths=theme.STYLE_SHEETS,
        head=theme.HEAD,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        max_file_size=MAX_PHOTO,
        state_session_capacity=PAGES_KEPT,
        app_kwargs={"routes": list(routes)},
    )
