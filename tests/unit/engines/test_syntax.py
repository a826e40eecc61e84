"""Syntax trees from several threads at once."""

from __future__ import annotations

import ast
import gc
import threading
import time
from pathlib import Path

import pytest

from claimed_med.engines import syntax

SOURCE = Path(ast.__file__).read_bytes()


def _from_threads(parse, n_threads=3, times=8):
    errors = []

    def work():
        for _ in range(times):
            try:
                parse(SOURCE)
            except SystemError as error:
                errors.append(error)

    def yields(*_):
        time.sleep(0)

    gc.callbacks.append(yields)  # a collection in the middle of a tree lets other threads run
    try:
        threads = [threading.Thread(target=work) for _ in range(n_threads)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
    finally:
        gc.callbacks.remove(yields)
    return errors


def test_trees_are_made_from_several_threads():
    assert not _from_threads(syntax.module)


def test_an_expression_is_parsed_and_a_statement_is_not():
    assert isinstance(syntax.expression("a > 1"), ast.Compare)
    with pytest.raises(SyntaxError):
        syntax.expression("a = 1")
