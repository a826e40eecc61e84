"""Python source to a syntax tree, one thread at a time.

Tasks run in threads, and CPython before 3.11.9 and 3.12.3 counts the depth of a tree for all threads together: two at
once raise SystemError.
"""

from __future__ import annotations

import ast
import threading

_ONE_AT_A_TIME = threading.Lock()


def module(source: bytes) -> ast.Module:
    """The tree of a file; SyntaxError when it is not Python."""
    with _ONE_AT_A_TIME:
        return ast.parse(source)


def expression(text: str) -> ast.expr:
    """The tree of one expression; SyntaxError when it is none."""
    with _ONE_AT_A_TIME:
        return ast.parse(text, mode="eval").body
