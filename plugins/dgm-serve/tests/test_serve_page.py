"""`dgm page` of an entry that comes from anybody: what it says is text, and what is no number is not shown."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest
import torch
from dgm_serve.standalone import _packed, _page

from dgmcore.errors import NotFiniteError

EVIL = "</script><script>alert(1)</script>{{data}}{{script}} \\1\\g<0> \x1b[2J\u202e\u2066 <!-- \" onmouseover='x"


def test_what_an_entry_says_is_text_on_its_page():
    entry = {"name": "toy", "summary": EVIL, "family": EVIL, "dataset": EVIL, "license": EVIL, "likelihood": None}
    page = _page(entry, {"samples": {"command": EVIL}})
    assert all(line.isprintable() for line in page.split("\n"))
    assert re.findall(r"<script[^>]*>", page) == [
        '<script id="data" type="application/json">',
        '<script type="module">',
    ]
    assert page.count("</script>") == 2 and "<!--" not in page
    assert "https://" not in page and "http://" not in page, "nothing is fetched"


def test_a_licence_is_shown_whatever_it_ends_with():
    entry = {"name": "toy", "summary": "", "family": "flows", "dataset": "moons", "license": "None", "likelihood": None}
    page = _page(entry, {})
    assert "<span>None</span>" in page and "likelihood" not in page.partition("<main")[0]


def test_what_is_not_finite_is_on_no_page():
    with pytest.raises(NotFiniteError, match="what the page would show"):
        _packed(torch.tensor([[0.0, float("nan")]]), SimpleNamespace(event_shape=(2,)))
