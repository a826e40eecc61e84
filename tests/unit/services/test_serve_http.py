"""The HTTP face: what a request leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from fastapi import Request

from claimed_med.services import serve_job
from claimed_med.services.serve_dicom import Dicom
from claimed_med.services.serve_error import Expired
from claimed_med.services.serve_http import Face
from claimed_med.services.serve_job import Job
from claimed_med.testing.routing import wait_for


class _Slow(Dicom):
    """Takes an upload, tells so, and goes on with it until it is let go."""

    def __init__(self, work, begun):
        super().__init__(SimpleNamespace(lineage=None, pictures=None, origins=frozenset()), work)
        self.begun, self.goes_on, self.left = begun, threading.Event(), threading.Event()

    def unpack(self, body, *_):
        self.begun()
        self.goes_on.wait()
        with contextlib.suppress(OSError):
            for number in range(200):  # what a thread does that has not heard yet that nobody waits
                (body.parent / str(number)).write_bytes(b"pixels")
        self.left.set()
        raise OSError


def _upload():
    messages = [{"type": "http.request", "body": b"x", "more_body": False}]

    async def receive():
        return messages.pop() if messages else await asyncio.Event().wait()  # the caller stays

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"",
             "headers": [(b"content-type", b"application/dicom")]}  # fmt: skip
    return Request(scope, receive)


def test_nothing_is_left_of_a_request_that_was_given_up_while_a_thread_worked_on_it(tmp_path, hurried):
    dicom = _Slow(tmp_path, lambda: hurried.get_loop().skip(61.0))
    with ThreadPoolExecutor(1) as pool:
        face = Face(SimpleNamespace(name="model"), dicom, None, pool)

        async def ask():
            serve_job.current.set(Job("dicom", time.monotonic() + 60.0))
            await face.predict("model", _upload())

        with pytest.raises(Expired):
            hurried.run(ask())
        assert len(list(tmp_path.iterdir())) == 1, "the thread is still at work in it"
        dicom.goes_on.set()
    assert dicom.left.is_set()
    assert wait_for(lambda: not list(tmp_path.iterdir()))
