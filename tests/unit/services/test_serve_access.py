"""Who claims to send much and sends nothing keeps nobody else out, and not for longer than a request may last."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import orjson
import pytest

from claimed_med.services.serve_access import BODIES, Body, Door, Guard
from claimed_med.services.serve_error import Busy, Expired, TooLarge
from claimed_med.services.serve_job import Job
from claimed_med.services.serve_options import Options
from claimed_med.services.serve_record import Audit

MOST = 1 << 20


@pytest.fixture
def door(tmp_path):
    return Door(Options(Path("bundle"), max_upload=MOST), Audit(str(tmp_path / "audit.jsonl")))


class Caller:
    """One connection: messages that it sends, then nothing more."""

    def __init__(self, *messages):
        self._messages, self.sent, self.stalled = list(messages), [], asyncio.Event()

    async def receive(self):
        if self._messages:
            return self._messages.pop(0)
        self.stalled.set()
        return await asyncio.Future()

    async def send(self, message):
        self.sent.append(message)

    def ask(self, door, seconds):
        head = {b"host": b"localhost", b"content-length": b"%d" % MOST, b"x-request-timeout-s": b"%g" % seconds}
        path = "/v1/models/model:predict"
        scope = {"type": "http", "method": "POST", "path": path, "headers": list(head.items())}
        return Guard(_reads, door)(scope, self.receive, self.send)


async def _reads(_, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def _part(size, *, more):
    return {"type": "http.request", "body": bytes(size), "more_body": more}


def test_idle_bodies_keep_nobody_out_and_are_cut_off_by_the_deadline(door, hurried):
    async def run():
        idle = [Caller(_part(1, more=True)) for _ in range(BODIES + 1)]
        tasks = [asyncio.create_task(one.ask(door, 60.0)) for one in idle]
        await asyncio.gather(*(one.stalled.wait() for one in idle))
        assert door.n_bytes == len(idle)
        honest = Caller(_part(MOST, more=False))
        await honest.ask(door, 60.0)
        assert honest.sent[0]["status"] == 200
        asyncio.get_running_loop().skip(61.0)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        for one in idle:
            assert one.sent[0]["status"] == 504
            assert (b"connection", b"close") in one.sent[0]["headers"]
            assert orjson.loads(one.sent[1]["body"])["kind"] == "Expired"
        assert door.n_bytes == door.n_inside == 0

    hurried.run(run())


def test_bodies_that_came_fill_the_memory_and_give_it_back(door, hurried):
    async def run():
        full = [Caller(_part(MOST, more=True)) for _ in range(BODIES)]
        tasks = [asyncio.create_task(one.ask(door, 60.0)) for one in full]
        await asyncio.gather(*(one.stalled.wait() for one in full))
        other = Caller(_part(1, more=False))
        await other.ask(door, 60.0)
        assert other.sent[0]["status"] == 429
        asyncio.get_running_loop().skip(61.0)
        await asyncio.wait_for(asyncio.gather(*tasks), 60)
        again = Caller(_part(1, more=False))
        await again.ask(door, 60.0)
        assert again.sent[0]["status"] == 200

    hurried.run(run())


@pytest.mark.parametrize("parts", [0, 1])
def test_who_goes_away_while_the_body_comes_is_no_error_of_the_server(door, tmp_path, parts):
    async def run():
        gone = Caller(*[_part(1, more=True)] * parts, {"type": "http.disconnect"})
        await gone.ask(door, 60.0)
        assert gone.sent == []
        assert door.n_bytes == door.n_inside == 0

    asyncio.run(run())
    (line,) = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert (orjson.loads(line)["status"], orjson.loads(line)["error"]) == (499, "Cancelled")


@pytest.mark.parametrize(("left", "size", "error"), [(-1.0, 1, Expired), (60.0, MOST + 1, TooLarge)])
def test_a_body_that_is_late_or_large_is_refused(door, left, size, error):
    async def run():
        job = Job("v1", time.monotonic() + left)
        with pytest.raises(error):
            await Body(Caller().receive if left < 0 else Caller(_part(size, more=True)).receive, job, door).receive()

    asyncio.run(run())


def test_a_body_of_dicom_goes_to_the_disk_and_counts_for_no_memory(door):
    async def run():
        body = Body(Caller(_part(MOST, more=False)).receive, Job("dicom", time.monotonic() + 60), door)
        await body.receive()
        assert door.n_bytes == body.n_held == 0
        door.hold(BODIES * MOST)
        with pytest.raises(Busy):
            door.hold(1)

    asyncio.run(run())
