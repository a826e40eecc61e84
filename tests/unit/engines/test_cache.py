from __future__ import annotations

import shutil

import pytest

from claimed_med import registry
from claimed_med.engines import code
from claimed_med.engines.cache import Cache


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the package's sources, seen by the code digest in place of the installed ones."""
    home = tmp_path / "claimed_med"
    shutil.copytree(code._HOME, home, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "_HOME", home)
    code._files.cache_clear()
    yield home
    code._files.cache_clear()


class Stub:
    def __init__(self, home, name, category):
        self.path = home / "components" / category / f"{name.replace('-', '_')}.py"
        self.contract = registry.get(name).contract


def digests(home):
    parts = {"segment-lungs": "predict", "select-series": "filter", "segment-brain": "predict"}
    return {name: code.code_digest(Stub(home, name, category)) for name, category in parts.items()}


def changed(checkout, relative):
    before = digests(checkout)
    path = checkout / relative
    path.write_text(path.read_text() + "\n# changed\n")
    after = digests(checkout)
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("relative", "components"),
    [
        ("imaging/lungs.py", {"segment-lungs"}),
        ("models/brain.py", {"segment-brain"}),
        ("dicom/rules.py", {"select-series"}),
        ("components/filter/select_series.py", {"select-series"}),
        ("dicom/header.py", {"segment-lungs", "select-series", "segment-brain"}),
        ("provenance/trace.py", set()),
        ("engines/local.py", set()),
    ],
)
def test_a_changed_file_changes_what_depends_on_it_and_nothing_else(checkout, relative, components):
    assert changed(checkout, relative) == components


def test_the_key_depends_on_inputs_settings_and_locations(parts, tmp_path):
    cache, component = Cache(tmp_path), registry.get("count-lines")
    settings = {one.name: one.default for one in component.contract.settings}
    base = cache.key(component, settings, {"table": "a"}, {})
    assert cache.key(component, settings, {"table": "a"}, {}) == base
    others = [
        cache.key(component, settings | {"n_more": 2}, {"table": "a"}, {}),
        cache.key(component, settings, {"table": "b"}, {}),
        cache.key(component, settings, {"table": "a"}, {"notes": "c"}),
    ]
    assert len({base, *others}) == 4


def test_the_packages_of_the_extra_are_part_of_the_code():
    assert ("torch" in dict(code.packages("torch")), "torch" in dict(code.packages("cpu"))) == (True, False)


def test_a_link_in_an_output_is_never_followed_into_the_cache(tmp_path):
    (tmp_path / "secret.txt").write_text("SECRETWORD")
    (tmp_path / "port").mkdir()
    (tmp_path / "port" / "link.txt").symlink_to(tmp_path / "secret.txt")
    Cache(tmp_path / "cache").store("aa" * 32, {"port": tmp_path / "port"}, {})
    copies = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and not path.is_symlink()]
    assert all("SECRETWORD" not in path.read_text() for path in copies)
