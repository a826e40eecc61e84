from __future__ import annotations

import re

import claimed_med as cm


def _study(verdict):
    report = {"kind": "x", "metrics": [{"name": "auc", "group": "all", "value": 0.8}]}
    blessing = cm.Report({"kind": "blessing", "verdict": verdict, "reasons": []}, html="")
    others = [cm.Report(report, html=f"<h1>x</h1>\n<p>figure {n}</p>\n</body>") for n in range(5)]
    return cm.render_study(blessing, *others)


def test_all_reports_are_on_one_page_that_needs_no_other_file():
    page = _study("blessed").page()
    assert [page.index(f"figure {n}") for n in range(5)] == sorted(page.index(f"figure {n}") for n in range(5))
    assert page.index("Verdict") < page.index("figure 0")
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_the_page_does_not_hang_on_the_verdict():
    blessed, refused = (_study(verdict) for verdict in ("blessed", "refused"))
    assert blessed.load()["figures"] == refused.load()["figures"]
    assert refused.load()["verdict"] == "refused"
    assert blessed.page().replace("blessed", "refused") == refused.page()
