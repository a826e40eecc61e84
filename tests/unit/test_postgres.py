"""Why a PostgreSQL server is not to be had is said without a word of its address."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from claimed_med.cli import main
from claimed_med.errors import ContractError, InputError
from claimed_med.postgres import is_url
from claimed_med.prediction_log import Prediction, PredictionLog
from claimed_med.provenance.store import connected
from claimed_med.testing.postgres import require_installed, server

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.postgres
REFUSED = "the database refuses user or password"
AWAY = "the database server does not answer"
NO_ADDRESS = "the address of the database cannot be read"


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A server that asks one user, zelda, for a password."""
    require_installed()
    with server(tmp_path_factory.mktemp("postgres")) as running:
        with psycopg.connect(running.url, autocommit=True) as database:
            database.execute("CREATE ROLE zelda LOGIN PASSWORD 'another word'")
            rules = Path(database.execute("SHOW hba_file").fetchone()[0])
            rules.write_text("host all zelda 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
            database.execute("SELECT pg_reload_conf()")
        _wait_for_the_rules(running.url.replace("postgres@", "zelda@"))
        yield running.url


def _wait_for_the_rules(url):
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return
        time.sleep(0.05)


@pytest.fixture(params=["log", "index"])
def opened(request):
    """A function that opens a place as the record of predictions, or as the index of lineage."""

    def log(place):
        PredictionLog(place).close()

    def index(place):
        with connected(place):
            pass

    return {"log": log, "index": index}[request.param]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("//postgres@", "//zelda:secretword@", REFUSED),
        ("//postgres@", "//zelda@", REFUSED),
        ("//postgres@", "//bob:secretword@", REFUSED),
        ("/postgres", "/absentbase", "the server has no such database"),
        ("//postgres@", "//postgres:secret word@", NO_ADDRESS),
        ("@127.0.0.1:", "@127.0.0.1:secretword", NO_ADDRESS),
    ],
)
def test_the_reason_is_told_without_the_address(url, opened, old, new, told):
    head, _, tail = url.rpartition(old) if old == "/postgres" else url.partition(old)
    with pytest.raises(InputError, match=told) as caught:
        opened(f"{head}{new}{tail}")
    assert not any(word in str(caught.value) for word in ("secret", "127.0.0.1", "zelda", "bob", "absentbase"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("place", ["127.0.0.1:1", "nowhere.invalid"])
def test_a_server_that_is_away_is_told_without_the_address(opened, place):
    with pytest.raises(InputError, match=AWAY) as caught:
        opened(f"postgresql://zelda:secretword@{place}/base")
    assert not any(word in str(caught.value) for word in ("secretword", place, "zelda"))


def test_a_host_that_cannot_be_one_is_told_without_the_address(opened):
    with pytest.raises(InputError, match=NO_ADDRESS) as caught:
        opened(f"postgresql://zelda:secretword@{'a' * 80}.invalid/base")
    assert not any(word in str(caught.value) for word in ("secretword", "aaa", "zelda"))


@pytest.mark.parametrize(
    "words",
    [
        ["monitor", "serve", "URL"],
        ["run", "load-predictions", "--url", "URL", "--out", "OUT"],
        ["lineage", "index", ".", "--db", "URL"],
        ["lineage", "trace", ".", "--db", "URL"],
        ["lineage", "where-used", "1.2.3", "--db", "URL"],
    ],
)
def test_every_command_ends_as_for_bad_input(words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    given = {"URL": "postgresql://zelda:secretword@127.0.0.1:1/base", "OUT": str(tmp_path / "out")}
    assert main([given.get(word, word) for word in words]) == InputError.exit_code
    shown = capfd.readouterr()
    assert AWAY in shown.err
    assert not any(word in shown.out + shown.err for word in ("secretword", "127.0.0.1", "zelda", "Traceback"))


def test_what_is_an_address_and_what_a_path():
    assert is_url("postgresql://host/x", "here")
    assert is_url("postgres://host/x", "here")
    assert not is_url("folder/x.sqlite", "here")
    with pytest.raises(ContractError, match="got mysql; allowed a path, or postgresql://"):
        is_url("mysql://zelda:secretword@host/x", "here")


@pytest.mark.parametrize("database", ["first", "second", "third"])
def test_servers_that_start_at_once_share_a_fresh_database(url, database):
    with psycopg.connect(url, autocommit=True) as opened:
        opened.execute(f"CREATE DATABASE {database}")
    place, together = f"{url.rpartition('/')[0]}/{database}", threading.Barrier(6)

    def start(number):
        together.wait()
        log = PredictionLog(place)
        log.append([Prediction(at=float(number), model_digest="a" * 64)])
        log.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(start, range(6)))
    log = PredictionLog(place)
    assert [one.at for one in log.read()] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    log.close()
