"""Importing Gradio without the interface files that it writes for editors.

Whenever it is imported, Gradio parses the source of each of its components and fills in a template, to write a `.pyi`
file beside it (`gradio.component_meta`; no issue of Gradio's is known), which takes seconds (train/LOG.md). For a
component that lies in no file it does not, and so Python says of all of them meanwhile.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def without_interface_files() -> Iterator[None]:
    """Import Gradio within this. Where another Gradio does otherwise, its import takes as long as ever."""
    getfile = inspect.getfile

    def of_no_component(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("no interface file of this component is wanted")
        return getfile(thing)

    inspect.getfile = of_no_component  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.getfile = getfile
