"""What every answer tells the browser: to take no file for another kind, and which pages may frame this one."""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cilf.demo.server.settings import ANY_HOST, Settings


class ResponseHeaders:
    """ASGI middleware, given to Gradio through `app_kwargs`.

    - `X-Content-Type-Options: nosniff`.
    - `Content-Security-Policy: frame-ancestors`: the page itself and its trusted hosts. Not where a proxy shows the
      page in a frame of its own: on a Space, with `--share` and in notebooks.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._headers = {"X-Content-Type-Options": "nosniff"}
        if not settings.behind_proxy and ANY_HOST not in settings.trusted_hosts:
            hosts = ("'self'", *(f"{host}:*" for host in settings.trusted_hosts))
            self._headers["Content-Security-Policy"] = f"frame-ancestors {' '.join(hosts)}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self._headers)
            await send(message)

        await self._app(scope, receive, sending)
