"""Answers in Gradio's place: to addresses that the page does not offer, and where an error of Gradio's would write a
visitor's words into the log, or a bare 500 to the visitor."""

from urllib.parse import parse_qs

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cilf.demo import texts
from cilf.demo.uploads import folder

FILE, PROXY = "/file=", "/proxy="

# Letters of the name that a page, or a program's client, gives its session or an upload: Gradio's take at most 36.
MAX_SESSION = 64


class Guard:
    """ASGI middleware, given to Gradio through `app_kwargs`.

    - No relay: Gradio would bring anybody any public address, of any length, through this computer (403).
    - No files but uploads: Gradio also accepts files for a component's own functions, of which this page has none that
      wants them, and recordings of the screen. It puts them into the system's temporary folder, and leaves there what
      a broken connection, and any recording, brought (404).
    - No links to a page's contents: Gradio would write them, the photo among them, into a file (404).
    - No components of somebody else's, of which the page has none: Gradio prints what it is asked for (404).
    - No names of sessions and uploads longer than Gradio's own, which it keeps (400); those in a request's body
      `gradio_patches` bounds.
    - A file that is read and removed while the browser asks for it is not found (404); the error that Gradio raises
      would put the visitor's name for it into the log.
    - A full disk is said in a sentence (507).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = _refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            await Response(status_code=refusal)(scope, receive, send)
        elif scope["type"] == "http":
            await self._pass_on(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except (OSError, RuntimeError) as error:
            is_gone = FILE in scope["path"] and isinstance(error, FileNotFoundError | RuntimeError)
            if not (is_gone or folder.is_full(error)):
                raise
            gone, full = Response(status_code=404), JSONResponse({"detail": texts.DISK_FULL}, 507)
            if not begun:
                await (gone if is_gone else full)(scope, receive, send)


def _refusal(scope: Scope) -> int | None:
    """The status of the answer to a request that Gradio must not see; None for all others."""
    path: str = scope["path"]
    relayed = path.partition(FILE)[2] or path.partition(PROXY)[2]
    if relayed.lower().startswith(("http:", "https:")):
        return 403
    if "/deep_link" in path or "/custom_component/" in path:
        return 404
    query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    if any(
        len(value) > MAX_SESSION for name in ("session_hash", "upload_id") for value in query.get(name, ())
    ):
        return 400
    kind = dict(scope["headers"]).get(b"content-type", b"")
    sends_files = "/component_server" in path and kind.lower().startswith(b"multipart/")
    return 404 if sends_files or "/process_recording" in path else None
