"""Elyra's editor in a headless Chromium, for tests: does it show a pipeline, and what does that look like?"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from claimed_med.errors import EngineError
from claimed_med.testing.servers import free_port, stop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from claimed_med.testing.elyra import Elyra

ABSENT = "Chromium is absent (make system: chromium)"
_QUIET = '{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}'  # asks the user about news
_READY_S, _POLL_S = 240, 0.5
# Drives Chromium by its debugging protocol; run by Elyra's Python, which brings the websocket client.
_DRIVER = """
import asyncio, base64, json, sys, time, urllib.request
from tornado.websocket import websocket_connect

port, address, target, wanted, seconds = sys.argv[1:]
NODES = "document.querySelectorAll('.d3-node-group').length"
TOASTS = "document.querySelectorAll('.Toastify__toast').length"
DISMISS = "document.querySelectorAll('.Toastify__close-button').forEach(one => one.click())"
PALETTE = "document.querySelector('.togglePalette-action button')?.click()"


async def main():
    end = time.time() + float(seconds)
    while True:
        try:
            pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list"))
            page = next(one for one in pages if one["type"] == "page")
            break
        except (OSError, StopIteration):
            if time.time() > end:
                raise
            await asyncio.sleep(0.5)
    socket = await websocket_connect(page["webSocketDebuggerUrl"], max_message_size=1 << 27)

    async def call(method, **params):
        await socket.write_message(json.dumps({"id": 1, "method": method, "params": params}))
        while True:
            told = json.loads(await socket.read_message())
            if told.get("id") == 1:
                return told["result"]

    async def run(text):
        return (await call("Runtime.evaluate", expression=text, returnByValue=True))["result"].get("value")

    await call("Emulation.setDeviceMetricsOverride", width=2150, height=720, deviceScaleFactor=1, mobile=False)
    await call("Page.navigate", url=address)
    count = 0
    while count < int(wanted) and time.time() < end:
        await asyncio.sleep(1)
        count = await run(NODES) or 0
    await run(PALETTE)
    quiet = 0
    while quiet < 5 and time.time() < end:  # messages come late, and go slowly
        await run(DISMISS)
        await asyncio.sleep(1)
        quiet = 0 if await run(TOASTS) else quiet + 1
    shot = await call("Page.captureScreenshot", format="png")
    with open(target, "wb") as file:
        file.write(base64.b64decode(shot["data"]))
    print(count)

asyncio.run(main())
"""


def program() -> str:
    """Chromium's program, or ''."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or ""


def screenshot(lab: Elyra, pipeline: Path, target: Path, n_nodes: int) -> int:
    """Open a pipeline in the editor and take a picture; how many nodes it shows.

    Args:
        lab: Whose JupyterLab is started, on the loopback.
        pipeline: The file.
        target: The PNG.
        n_nodes: Wait until so many are shown, for some minutes.

    Raises:
        EngineError: JupyterLab or Chromium does not start.
    """
    port, debugging = free_port(), free_port()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_lab(lab, pipeline.parent, port))
        stack.enter_context(_chromium(lab.folder / "chromium", debugging))
        address = f"http://127.0.0.1:{port}/lab/tree/{pipeline.name}"
        words = [str(lab.program / "python"), "-c", _DRIVER, str(debugging), address, str(target), str(n_nodes)]
        done = subprocess.run([*words, str(_READY_S)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError("canvas", "Chromium could not be driven", got=done.stderr.strip()[-300:])
    return int(done.stdout.split()[-1])


@contextlib.contextmanager
def _lab(lab: Elyra, root: Path, port: int) -> Iterator[None]:
    words = [
        str(lab.program / "python"), "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--IdentityProvider.token=", "--ServerApp.password=", f"--ServerApp.root_dir={root}",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]  # fmt: skip
    config = lab.folder / "config" / "labconfig"
    config.mkdir(exist_ok=True)
    (config / "page_config.json").write_text(_QUIET)
    with (lab.folder / "lab.log").open("ab") as log:
        process = subprocess.Popen(words, env=lab.environment, cwd=lab.folder, stdout=log, stderr=log)
    try:
        end = time.monotonic() + _READY_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > end:
                raise EngineError("canvas", "JupyterLab does not start", do="see lab.log")
            time.sleep(_POLL_S)
        yield
    finally:
        stop(process)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@contextlib.contextmanager
def _chromium(folder: Path, port: int) -> Iterator[None]:
    words = [
        program(), "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=2150,720",
        f"--user-data-dir={folder}", f"--remote-debugging-port={port}", "about:blank",
    ]  # fmt: skip
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(words, stdin=nowhere, stdout=nowhere, stderr=nowhere)
    try:
        yield
    finally:
        stop(process)
