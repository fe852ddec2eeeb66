"""The site lists every page, and CONTRIBUTING.md speaks of what is there (`make site` builds the site, strictly)."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]


def listed(nav):
    """The pages of a navigation, in order."""
    for item in nav:
        if isinstance(item, str):
            yield item
        else:
            for inner in item.values():
                yield from [inner] if isinstance(inner, str) else listed(inner)


def constant(name):
    """A constant of the site's hooks, which only `make site` can import."""
    tree = ast.parse((ROOT / "docs" / "site_hooks.py").read_text(encoding="utf-8"))
    return next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == name)


def layers():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [re.split(r" *[|:] *", layer) for layer in contract["layers"]]


def test_the_site_lists_every_page_once_and_nothing_else():
    pages = list(listed(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    outside = constant("OUTSIDE")
    inside = {p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md")}
    assert sorted(pages) == sorted(inside | outside.keys())
    assert all((ROOT / file).is_file() for file in outside.values())


def test_the_site_takes_nothing_from_elsewhere():
    theme = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["theme"]
    assert theme["font"] is False


def test_the_map_of_the_house_is_that_of_the_linter():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = text.partition("| layer,")[2].partition("\n\n")[0].splitlines()[2:]
    assert [re.findall(r"`(\w+)`", row.split("|")[1]) for row in rows] == [x for x in layers() if x != ["__main__"]]
    named = set(re.findall(r"`(dgm-[a-z]+)`", text))
    assert named == {p.name for p in (ROOT / "plugins").iterdir() if (p / "pyproject.toml").is_file()}


def test_the_files_that_contributing_names_are_there():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:dgmcore|plugins|tests|docs|recipes|registry)/[\w./-]+)`", text)
    assert len(paths) > 10
    assert [p for p in paths if not re.search("NAME|FAMILY", p) and not (ROOT / p).exists()] == []


def test_the_changelog_keeps_its_format():
    """Keep a Changelog 1.1.0: versions or Unreleased, newest first, and changes under its six headings only."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, re.M)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", v) for v in versions[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.M)) <= kinds
    assert not re.search(r"^- (Retrained|Trained on)", text, re.M)
