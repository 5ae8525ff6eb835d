"""Answers 400 to requests that Gradio's routes cannot read, in place of an error of Python's and status 500."""

import logging

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cilf.demo import texts

log = logging.getLogger(__name__)

GRADIO = "/gradio_api/"


class MalformedRequests:
    """ASGI middleware, given to Gradio through `app_kwargs`; the innermost one.

    Gradio checks little of a body: an unknown component, a text where a list belongs, or a broken line of a form ends
    in an error. Nothing of the request gets into the log but the error's kind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or GRADIO not in scope["path"]:
            await self._app(scope, receive, send)
            return
        begun = malformed = False

        async def sending(message: Message) -> None:
            nonlocal begun, malformed
            malformed = malformed or (message["type"] == "http.response.start" and message["status"] == 500)
            if not malformed:
                begun = True
                await send(message)

        try:
            await self._app(scope, receive, sending)
        except (OSError, ClientDisconnect):
            raise  # the disk's or the connection's affair
        except Exception as error:
            if begun:
                raise
            malformed = True
            log.warning("a request could not be read (%s)", type(error).__name__)
        if malformed:
            await JSONResponse({"detail": texts.MALFORMED}, 400)(scope, receive, send)
