"""A real browser for tests: Debian's Chromium without a window, driven by its own driver."""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REQUIRED = "CLAIMED_MED_REQUIRE_SERVERS"
ABSENT = "Chromium is absent (apt-get install chromium chromium-driver)"
_OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1200,1600"
).split()


def require_installed() -> None:
    """For pytest fixtures: skip where Chromium is absent; fail where CLAIMED_MED_REQUIRE_SERVERS=1."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    import pytest

    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{REQUIRED}=1, but {ABSENT}")
    pytest.skip(ABSENT)


@contextlib.contextmanager
def chromium(folder: Path, *, dark: bool = False) -> Iterator[Any]:
    """A browser with an empty profile, as a Selenium driver.

    Args:
        folder: Gets the profile.
        dark: Prefer dark pages.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for word in (*_OPTIONS, f"--user-data-dir={folder}", *(["--force-dark-mode"] if dark else [])):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(shutil.which("chromedriver"))))
    try:
        yield driver
    finally:
        driver.quit()
