"""Results by site on a map without a network."""

from __future__ import annotations

import pandas as pd
import pytest

import claimed_med as cm
from claimed_med.errors import InputError

SITES = pd.DataFrame({"site": ["A", "B", "C"], "latitude": [47.4, 48.2, 10.0], "longitude": [8.5, 16.4, 20.0]})
RESULTS = pd.DataFrame({"site": ["A"] * 20 + ["B"] * 3 + ["Z", None], "score": [0.25] * 10 + [0.75] * 10 + [0.5] * 5})


def mapped(results=RESULTS, sites=SITES, **settings):
    return cm.map_sites(cm.Table(results), cm.Table(sites), **settings)


def test_means_stand_at_their_site_and_what_cannot_be_drawn_is_listed():
    found = mapped()
    report = found.map.load()
    assert [(one["site"], one["n"], one["mean"]) for one in report["sites"]] == [("A", 20, 0.5), ("B", 3, None)]
    assert (report["without_place"], report["without_results"], report["without_site"]) == (["Z"], ["C"], 1)
    assert found.picture.load().startswith(b"\x89PNG")


def test_the_same_tables_give_the_same_picture():
    assert mapped().picture.load() == mapped().picture.load()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"sites": SITES.assign(latitude=123.0)}, "place is none"),
        ({"sites": pd.concat([SITES, SITES])}, "two places"),
        ({"sites": SITES.assign(site="X" + SITES["site"])}, "no site of the results"),
        ({"value": "weight"}, "column is missing"),
        ({"results": RESULTS.assign(score="high")}, "no numbers"),
    ],
)
def test_what_cannot_be_mapped_is_a_clear_error(changed, words):
    with pytest.raises(InputError, match=words):
        mapped(**changed)
