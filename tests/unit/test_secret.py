"""The secret of a project that nobody has set yet."""

from __future__ import annotations

import os
import threading

from claimed_med import secret


def test_two_that_make_the_secret_at_once_have_the_same(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    link, found = os.link, []

    def overtaken(source, target):
        monkeypatch.setattr(os, "link", link)
        other = threading.Thread(target=lambda: found.append(secret._own()))
        other.start()
        other.join()
        link(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    found.append(secret._own())
    assert found[0] == found[1] == (tmp_path / "claimed_med" / "secret").read_bytes()
    assert [one.name for one in (tmp_path / "claimed_med").iterdir()] == ["secret"]
