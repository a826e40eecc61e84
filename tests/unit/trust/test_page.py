from __future__ import annotations

import re

from claimed_med.trust import plot, study
from claimed_med.trust.page import Page


def test_what_is_written_is_escaped():
    html = Page("<b>").paragraph("<script>alert(1)</script>").table(["<i>"], [["<u>", 1.23456, 7]]).html()
    assert not re.findall(r"<(b|script|i|u)>", html)
    assert ">1.235<" in html
    assert ">7<" in html


def test_pictures_are_in_the_page_with_words_for_them():
    figure, axes = plot.new()
    axes.plot([0, 1])
    html = Page("x").picture(plot.png(figure), 'a "line"').picture(plot.svg(figure), "again").html()
    assert html.count("data:image/png;base64,") == html.count("data:image/svg+xml;base64,") == 1
    assert 'alt="a &quot;line&quot;"' in html


def test_figures_are_the_same_bytes_twice():
    def drawn():
        figure, axes = plot.new()
        axes.plot([0, 1], label="a")
        return plot.png(figure), plot.svg(figure)

    assert drawn() == drawn()


def test_a_page_in_a_page_goes_one_level_down():
    inner = Page("Inner").heading("part").heading("detail", 3).html()
    body = study.body_of(inner)
    assert "<h3>part</h3>" in body
    assert "<h4>detail</h4>" in body
    assert "Inner" not in body
