from __future__ import annotations

import json

import pandas as pd
import pytest

import claimed_med as cm
from claimed_med import asset
from claimed_med.errors import InputError
from claimed_med.pipeline_cli import main as pipeline
from claimed_med.run import main
from claimed_med.testing import phantoms


@pytest.fixture
def table(tmp_path):
    """A table with a record, as a run leaves it."""
    source = tmp_path / "source.csv"
    source.write_text("a\n1\n")
    assert main(["load-table", "--path", str(source), "--out", str(tmp_path / "made")]) == 0
    return tmp_path / "made" / "table"


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path):
    """A folder, and a bucket on a server of the S3 protocol."""
    return str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("bucket")


@pytest.fixture
def bucket(monkeypatch):
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
    ):
        monkeypatch.setenv(name, value)
    S3FileSystem.clear_instance_cache()
    S3FileSystem().mkdir("assets")
    yield "s3://assets/models"
    S3FileSystem.clear_instance_cache()
    server.stop()


def _store(folder, store, out):
    assert main(["store-asset", "--asset", str(folder), "--store", store, "--out", str(out)]) == 0
    return (out / "digest").read_text()


def _load(store, digest, out):
    return main(["load-asset", "--store", store, "--digest", digest, "--out", str(out)])


def test_what_was_stored_comes_back_with_its_record(table, store, tmp_path):
    digest = _store(table, store, tmp_path / "stored")
    assert _load(store, digest, tmp_path / "back") == 0
    record = json.loads((table / "lineage.json").read_text())
    back = json.loads((tmp_path / "back" / "asset" / "lineage.json").read_text())
    assert digest == record["payload"] == back["payload"]
    assert back["units"][0]["statements"] == {"asset": digest}
    origin = json.loads((tmp_path / "back" / "origin" / "report.json").read_text())
    assert origin["record"] == record
    assert cm.Table(tmp_path / "back" / "asset").load()["a"].tolist() == [1]


def test_storing_twice_adds_nothing_and_other_content_has_another_address(table, tmp_path):
    store = tmp_path / "store"
    first = _store(table, str(store), tmp_path / "one")
    before = {path: path.stat().st_mtime_ns for path in (store / "files").rglob("*")}
    assert _store(table, str(store), tmp_path / "two") == first
    assert {path: path.stat().st_mtime_ns for path in (store / "files").rglob("*")} == before
    other = cm.store_asset(cm.Asset(cm.Table(pd.DataFrame({"a": [2]})).save(tmp_path / "other")), store=str(store))
    assert other.digest != first
    assert _load(str(store), first, tmp_path / "back") == 0


def _damage_file(store):
    (file,) = [path for path in (store / "files").rglob("*") if path.is_file()]
    file.write_bytes(b"older")


def _damage_list(store):
    (file,) = (store / "assets").iterdir()
    told = json.loads(file.read_text())
    told["files"] = dict.fromkeys(told["files"], "0" * 64)
    file.write_text(json.dumps(told))


def _swap(store):
    """The list of another asset under this address: what a stale or renamed entry would be."""
    other = asset.Store(str(store)).put({"table.csv": b"a\n9\n"}, {})
    (mine,) = [path for path in (store / "assets").iterdir() if other.digest not in path.name]
    mine.write_text((store / "assets" / f"{other.digest}.json").read_text())


def _remove_file(store):
    (file,) = [path for path in (store / "files").rglob("*") if path.is_file()]
    file.unlink()


def _escape(store):
    (file,) = (store / "assets").iterdir()
    told = json.loads(file.read_text())
    told["files"] = {f"../{name}": one for name, one in told["files"].items()}
    file.write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_damage_file, "a file of the asset was changed"),
        (_damage_list, "the list of its files was changed"),
        (_swap, "the list of its files was changed"),
        (_remove_file, "a file of the asset is missing"),
        (_escape, "the list of its files was changed"),
    ],
)
def test_nothing_but_what_was_stored_is_ever_handed_out(change, told, table, tmp_path, capsys):
    store = tmp_path / "store"
    digest = _store(table, str(store), tmp_path / "stored")
    change(store)
    assert _load(str(store), digest, tmp_path / "back") == InputError.exit_code
    assert told in capsys.readouterr().err
    assert not (tmp_path / "back" / "asset").exists()


def test_a_damaged_file_is_mended_by_storing_again(table, tmp_path):
    store = tmp_path / "store"
    digest = _store(table, str(store), tmp_path / "stored")
    _damage_file(store)
    assert _store(table, str(store), tmp_path / "again") == digest
    assert _load(str(store), digest, tmp_path / "back") == 0


@pytest.mark.parametrize(("digest", "told"), [("segmenter", "named by its digest"), ("0" * 64, "no such asset")])
def test_a_name_is_no_address(digest, told, tmp_path):
    with pytest.raises(InputError, match=told):
        cm.load_asset(store=str(tmp_path), digest=digest)


def test_a_folder_of_units_comes_back_as_it_was(tmp_path):
    phantoms.write("chest_ct", tmp_path / "ct")
    assert main(["segment-lungs", "--series", str(tmp_path / "ct"), "--out", str(tmp_path / "lungs")]) == 0
    segmentation = tmp_path / "lungs" / "segmentation"
    digest = _store(segmentation, str(tmp_path / "store"), tmp_path / "stored")
    assert _load(str(tmp_path / "store"), digest, tmp_path / "back") == 0
    names = {path.relative_to(segmentation) for path in segmentation.rglob("*") if path.is_file()}
    back = tmp_path / "back" / "asset"
    assert {path.relative_to(back) for path in back.rglob("*") if path.is_file()} == names
    words = ["--series", str(tmp_path / "ct"), "--segmentation", str(back), "--out", str(tmp_path / "measured")]
    assert main(["measure-segments", *words]) == 0


def test_the_address_of_a_store_is_never_told(tmp_path, capsys):
    assert _load(str(tmp_path / "SECRETPLACE"), "0" * 64, tmp_path / "back") == InputError.exit_code
    assert "SECRETPLACE" not in capsys.readouterr().err


def test_a_store_whose_server_is_away_is_said_to_be(tmp_path):
    with pytest.raises(InputError, match="cannot be reached"):
        cm.load_asset(store="ftp://127.0.0.1:1/SECRETPLACE", digest="0" * 64)


PIPELINE = """
from kfp import components, dsl
from claimed_med import registry
from claimed_med.targets.kfp import render
step = lambda name: components.load_component_from_text(render(registry.get(name).contract))

@dsl.pipeline
def kept(path: str, store: str):
    loaded = step("load-table")(path=path).set_caching_options(False)
    stored = step("store-asset")(asset=loaded.outputs["table"], store=store).set_caching_options(False)
    fetched = step("load-asset")(store=store, digest=stored.outputs["digest"]).set_caching_options(False)
    step("convert-table")(table=fetched.outputs["asset"], form="csv")
"""


def test_assets_fit_every_port_and_flow_through_a_pipeline(tmp_path):
    from claimed_med.engines.compile import compile_text

    source = tmp_path / "kept.py"
    source.write_text(PIPELINE)
    (tmp_path / "kept.yaml").write_text(compile_text(source))
    (tmp_path / "source.csv").write_text("a\n1\n")
    given = [f"--set=path={tmp_path / 'source.csv'}", f"--set=store={tmp_path / 'store'}"]
    words = ["run", str(tmp_path / "kept.yaml"), *given, "--out", str(tmp_path / "out"), "--no-cache"]
    assert pipeline(words) == 0
    assert (tmp_path / "out/convert-table/converted/table.csv").read_text() == '"a"\n1\n'


def test_a_record_that_was_stored_stays(table, tmp_path):
    store = str(tmp_path / "store")
    digest = _store(table, store, tmp_path / "one")
    (table / "lineage.json").unlink()
    assert _store(table, store, tmp_path / "two") == digest
    assert _load(store, digest, tmp_path / "back") == 0
    origin = json.loads((tmp_path / "back" / "origin" / "report.json").read_text())
    assert origin["record"]["payload"] == digest
