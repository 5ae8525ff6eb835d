"""Tracebacks for the log without the messages of errors, which may hold the names of visitors' files."""

import logging
import sys
import traceback
from typing import Any

# An error is followed to so many others that it came from.
_CHAIN = 10


def install() -> None:
    """Have this program's loggers, and `traceback.print_exc`, by which Gradio reports errors, write such ones alone."""
    make_record = logging.getLogRecordFactory()

    def make_discreet_record(*arguments: Any, **options: Any) -> logging.LogRecord:
        record = make_record(*arguments, **options)
        if record.exc_info and record.exc_info[1] is not None:
            record.exc_text, record.exc_info = discreet(record.exc_info[1]), None
        return record

    logging.setLogRecordFactory(make_discreet_record)
    traceback.print_exc = _print_exc


def discreet(error: BaseException) -> str:
    """Kind and place of an error and of those that it came from, the first one first."""
    parts: list[str] = []
    each: BaseException | None = error
    while each is not None and len(parts) < _CHAIN:
        parts.append("".join(traceback.format_tb(each.__traceback__)) + type(each).__name__)
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "Traceback (most recent call last):\n" + "\n\nwhich led to:\n\n".join(reversed(parts))


def _print_exc(limit: int | None = None, file: Any = None, chain: bool = True) -> None:
    error = sys.exc_info()[1]
    if error is not None:
        (file or sys.stderr).write(discreet(error) + "\n")
