import inspect
import subprocess
import sys

import pytest

from cilf.demo.gradio_import import without_interface_files

# Gradio fills in a template of Jinja's for each component's interface file, with the arguments of its events.
IMPORT = """
import contextlib, jinja2

filled_in, Template = [], jinja2.Template

def counted(text, *args, **options):
    filled_in.append("Callable[..., Any] | None = None" in text)
    return Template(text, *args, **options)

jinja2.Template = counted
{first}:
    import gradio
assert gradio.Image.upload and gradio.Blocks
print(sum(filled_in))
"""
WITHOUT = "from cilf.demo.gradio_import import without_interface_files\nwith without_interface_files()"
PLAIN = "with contextlib.nullcontext()"


@pytest.mark.slow
def test_gradio_is_imported_without_interface_files() -> None:
    def filled_in(first: str) -> int:
        command = [sys.executable, "-c", IMPORT.format(first=first)]
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert filled_in(WITHOUT) == 0
    assert filled_in(PLAIN) > 0  # else there is nothing left to leave out


def test_python_tells_files_again_afterwards() -> None:
    getfile = inspect.getfile
    with without_interface_files():
        assert inspect.getfile is not getfile
    assert inspect.getfile is getfile
