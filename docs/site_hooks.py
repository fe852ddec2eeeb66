"""Hooks of mkdocs: pages from outside `docs/`, the API layer by layer, and formulas without a script from elsewhere."""

from __future__ import annotations

import re
import tomllib
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
#: Pages that lie elsewhere in the repository, by their names in the site.
OUTSIDE = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "benchmarks.md": "benchmarks/README.md",
    "results.md": "benchmarks/results.md",
}
#: Links between the files of the repository, as links between pages.
LINKS = {f"({there})": f"({here})" for here, there in OUTSIDE.items()} | {
    "(../README.md)": "(index.md)",
    "(docs/": "(",
    "(../docs/": "(",
    "(families/)": "(families/flows.md)",
}
#: A link to a script, which is no page.
SCRIPT = re.compile(r"\[([^\]]+)\]\([\w./-]+\.py\)")
PICTURE = re.compile(r"\((registry/[\w-]+/samples\.png)\)")


def layers() -> list[list[str]]:
    """Returns the layers of the core from the top down, as import-linter checks them: packages and modules."""

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contract = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")
    return [re.split(r" *[|:] *", layer) for layer in contract["layers"]]


def modules(name: str) -> list[str]:
    """Returns the import paths of a module of the core, or of the modules of a package."""

    folder = ROOT / "dgmcore" / name
    if not folder.is_dir():
        return [f"dgmcore.{name}"]
    files = sorted(p for p in folder.rglob("*.py") if p.name != "__init__.py" and "templates" not in p.parts)
    return [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in files]


def on_config(config: Any) -> Any:
    """Lists a page of the API for each layer."""

    config.nav.append({"API, layer by layer": [f"api/{'-'.join(layer)}.md" for layer in layers() if _shown(layer)]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages from elsewhere, the pictures that they show, and those of the API."""

    for name, source in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        for picture in set(PICTURE.findall(text)):
            files.append(File.generated(config, picture, abs_src_path=str(ROOT / picture)))
        files.append(File.generated(config, name, content=_linked(text)))
    for layer in filter(_shown, layers()):
        bodies = [
            f"## {m}\n\n::: {m}\n    options:\n      show_root_heading: false\n" for n in layer for m in modules(n)
        ]
        text = "\n".join([f"# {', '.join(layer)}\n", *bodies])
        files.append(File.generated(config, f"api/{'-'.join(layer)}.md", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turns links between files into links between pages."""

    return _linked(markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Writes formulas as MathML, which browsers show by themselves; those of docstrings, too."""

    html = re.sub(r"<(span|div) class=\"arithmatex\">\\([(\[])(.*?)\\[)\]]</\1>", _formula, html, flags=re.S)
    html = re.sub(r":math:<code>(.*?)</code>", lambda m: _mathml(m[1], "inline"), html, flags=re.S)
    html = re.sub(r"<p>\.\. math::(.*?)</p>", lambda m: f"<p>{_mathml(m[1], 'block')}</p>", html, flags=re.S)
    return re.sub(r":(?:class|func|meth|mod|data|attr):<code>~?", "<code>", html)


def _linked(text: str) -> str:
    for here, there in LINKS.items():
        text = text.replace(here, there)
    return SCRIPT.sub(r"\1", text)


def _formula(match: re.Match[str]) -> str:
    return _mathml(match[3], "inline" if match[2] == "(" else "block")


def _mathml(tex: str, display: str) -> str:
    return str(convert(unescape(tex), display=display))


def _shown(layer: list[str]) -> bool:
    return layer != ["__main__"]
