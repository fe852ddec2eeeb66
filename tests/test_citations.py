"""What docs, docstrings, comments and recipes cite of the papers behind the project is there.

The texts of the papers are no part of the project: the tests look for them in `$DGM_PAPERS`, then beside the
repository, and are skipped where they are not.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLACES = [os.environ.get("DGM_PAPERS"), ROOT / "shared" / "papers", ROOT.parent / "shared" / "papers"]
SOURCES = [
    "README.md",
    "docs/**/*.md",
    "recipes/*.yaml",
    "registry/*/model.yaml",
    "benchmarks/*",
    "dgmcore/**/*.py",
    "plugins/*/src/**/*.py",
]

THESIS = "Designing Deep Generative Models with Symbiotic Composition"
INTRODUCTION = "An Introduction to Deep Generative Modeling"  # Ruthotto & Haber
COURSE = "Introduction to generative modeling"  # De Bortoli


class Citation(NamedTuple):
    where: str
    paper: str
    kind: str
    label: str


# --- the papers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def papers():
    """The labels of each paper, by kind."""

    folder = next((Path(p) for p in PLACES if p and Path(p).is_dir()), None)
    if folder is None:
        pytest.skip("the papers are not here: set DGM_PAPERS to the folder of their texts")
    texts = [p.read_text(encoding="utf-8") for p in sorted(folder.glob("0*.txt"))]

    def text_of(title):
        return next(t for t in texts if title.lower() in " ".join(t[:3000].lower().split()))

    thesis, introduction, course = text_of(THESIS), text_of(f"# {INTRODUCTION}"), text_of(f"# {COURSE}")
    return {
        THESIS: {
            "eq": {*re.findall(r"\((\d\.\d+)\)", thesis), *re.findall(r"\\tag\{(\d\.\d+)\}", thesis)},
            "table": set(re.findall(r"(?m)^Table (\d\.\d+)[:.]", thesis)),
            "figure": set(re.findall(r"(?m)^Figure (\d\.\d+)[:.]", thesis)),
            "section": set(re.findall(r"(?m)^#+ \*?(\d(?:\.\d)+)\b", thesis)),
            "chapter": set(re.findall(r"(?m)^#+ CHAPTER (\d)", thesis)),
            "text": thesis,
        },
        INTRODUCTION: {
            "eq": {*re.findall(r"\((\d+)\)\s*\$\$", introduction), *re.findall(r"\\tag\{(\d+)\}", introduction)},
            "figure": set(re.findall(r"\*\*FIGURE (\d+)\*\*", introduction)),
            "section": set(re.findall(r"(?m)^#+ (\d(?:\.\d)?) \|", introduction)),
            "table": set(re.findall(r"\*\*TABLE (\d+)\*\*", introduction)),
            "text": introduction,
        },
        COURSE: {"algorithm": set(re.findall(r"(?m)^#+ Algorithm (\d)", course)), "text": course},
    }


# --- what is cited ----------------------------------------------------------------------------------

_NUMBER = r"\d+(?:\.\d+)*"
_LIST = rf"({_NUMBER}(?:(?:,| and| to|-|, and) ?{_NUMBER})*)"
_KINDS = {
    "eq": r"(?:[Ee]qs?\.|[Ee]quations?)",
    "table": r"Tables?",
    "figure": r"(?:Figs?\.|Figures?)",
    "section": r"[Ss]ections?",
    "chapter": r"[Cc]hapters?",
    "algorithm": r"Algorithm",
}
_BRACKET = re.compile(rf"\[(\d), (eq\.|section|sections) {_LIST}")
_REFERENCE = re.compile(r"\[(\d)\] ((?:.(?!\[\d\]))+)")


def citations(text: str, where: str) -> Iterator[Citation]:
    """Yields what a text cites of the three papers."""

    for found in _BRACKET.finditer(text):  # [1, eq. 9-12], where [1] is named below
        named = {m[1]: m[2] for m in _REFERENCE.finditer(text, found.end())}
        paper = next((p for p in (THESIS, INTRODUCTION) if p.lower() in named.get(found[1], "").lower()), None)
        kind = "eq" if found[2] == "eq." else "section"
        yield from (Citation(where, paper, kind, n) for n in _numbers(found[3]) if paper)
    text = _BRACKET.sub("", text)
    for kind, words in _KINDS.items():
        for found in re.finditer(rf"{words} {_LIST}", text):
            paper = _paper(text, found.start(), kind, found[1])
            yield from (Citation(where, paper, kind, n) for n in _numbers(found[1]) if paper)
    for found in re.finditer(rf"[Tt]hesis(?: \([^)]*\))?,? (?!\d{{4}}){_LIST}", text):  # thesis 4.3.1, 4.3.3
        yield from (Citation(where, THESIS, "section" if "." in n else "chapter", n) for n in _numbers(found[1]))


def _numbers(listed: str) -> list[str]:
    return re.findall(_NUMBER, listed)


def _paper(text: str, at: int, kind: str, first: str) -> str | None:
    """Returns the paper that a label at a place of a text belongs to, or None if it is another's."""

    before = text[max(0, at - 130) : at]
    cut = re.split(r"(?:et al\.|[A-Z][a-z]+(?: (?:&|and) [A-Z][a-z]+)?)(?: \(|, )\d{4}\)?", before)[-1]
    ours = re.search(r"(?s).*(R&H|Haber|De Bortoli|[Tt]hesis)", before)
    nearest = ours[1] if ours else ""
    if kind == "algorithm":
        return COURSE if nearest == "De Bortoli" else None
    if "." in first and kind != "section":  # only the thesis counts by chapters
        return THESIS
    if nearest in ("R&H", "Haber") and not re.search(r"et al|[Tt]hesis", before[ours.end(1) :]):
        return INTRODUCTION
    if kind == "chapter":
        return THESIS
    if kind == "section" and (first.count(".") == 2 or nearest.lower() == "thesis" or "Xiao" in cut):
        return THESIS
    return None


def cited() -> list[Citation]:
    files = sorted({path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()})
    found = []
    for path in files:
        if path.suffix in (".md", ".py", ".yaml"):
            text = path.read_text(encoding="utf-8").replace("\n#", "\n ")
            found += citations(" ".join(text.split()), str(path.relative_to(ROOT)))
    return found


# --- the tests --------------------------------------------------------------------------------------


def test_every_label_that_is_cited_is_in_the_paper(papers):
    found = cited()
    wrong = [c for c in found if c.label not in papers[c.paper].get(c.kind, ())]
    assert not wrong, "\n".join(f"{c.where}: {c.kind} {c.label} is not in: {c.paper}" for c in wrong)
    counts = {paper: sum(c.paper == paper for c in found) for paper in papers}
    assert counts[THESIS] > 80 and counts[INTRODUCTION] > 10 and counts[COURSE] >= 2, "the patterns find them"


#: Labels that were once mistaken for others, and what stands there.
WHAT = [
    (THESIS, "6.12", r"G_\theta(\mathbf{x}_t, \mathbf{z}, t)"),
    (THESIS, "2.50", r"q(\mathbf{x}_{t-1}|\mathbf{x}_t, \mathbf{x}_0) = \mathcal{N}"),
    (THESIS, "2.51", r"\tilde{\beta}_t"),
    (THESIS, "4.10", r"\sqrt{\epsilon}\omega"),
    (THESIS, "4.19", r"\epsilon_{\mathbf{z}}"),
    (THESIS, "5.7", r"\text{tr}"),
    (THESIS, "3.7", r"\text{sg}"),
    (THESIS, "2.34", r"b^T \mathbf{x} + c^T \mathbf{z}"),
    (THESIS, "2.35", r"\exp(b_i \mathbf{x}_i)"),
    (THESIS, "2.41", r"\text{tr}(\nabla_{\mathbf{x}} \mathbf{s}_\theta"),
    (THESIS, "2.42", r"\nabla_{\mathbf{x}} \log q(\tilde{\mathbf{x}}|\mathbf{x})"),
    (THESIS, "2.43", r"p_\theta(\mathbf{x}) + q(\mathbf{x})"),
    (THESIS, "2.68", r"\frac{d[\sigma^2(t)]}{dt}"),
    (THESIS, "3.4", r"\beta \cdot \log p_\theta(\mathbf{x}|\mathbf{z})"),
    (THESIS, "3.5", r"\text{reg}"),
    (THESIS, "4.8", r"q_0(\mathbf{z})e^{-f_{\theta}(F_{\phi}(\mathbf{z}))}"),
    (THESIS, "4.13", r"\log Z_{\theta, \phi}"),
    (THESIS, "4.17", r"\partial_\theta f_\theta(\mathbf{x})"),
    (THESIS, "4.30", r"D_{\text{KL}}(p_{\phi'}"),
    (THESIS, "5.5", r"-\nabla_{\mathbf{x}}E_{\theta}"),
    (THESIS, "5.6", r"\text{ODESolve}"),
    (THESIS, "5.8", r"\frac{\eta}{2} \nabla_{\mathbf{x}} E_\theta"),
    (THESIS, "5.14", r"E_{\text{sg}(\theta)}(G_\theta"),
    (THESIS, "6.15", r"\frac{2t-1}{T^2}"),
    (INTRODUCTION, "4", r"(1 - g(\mathbf{z})_i)^{(1-x_i)}"),
    (INTRODUCTION, "5", r"\sigma_{\text{sigm}}"),
    (INTRODUCTION, "33", r"\mathbf{C}_{\text{GAN}}"),
]


@pytest.mark.parametrize(("paper", "label", "formula"), WHAT)
def test_an_equation_is_the_one_that_is_meant(papers, paper, label, formula):
    formulas = re.findall(rf"(?s)\$\$((?:(?!\$\$).)*?)\({re.escape(label)}\)\s*\$\$", papers[paper]["text"])
    assert any(formula in f for f in formulas), formulas


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("by the thesis, eq. 4.10 and 4.19,", {(THESIS, "eq", "4.10"), (THESIS, "eq", "4.19")}),
        ("(thesis 4.3.1, 4.3.3)", {(THESIS, "section", "4.3.1"), (THESIS, "section", "4.3.3")}),
        ("R&H's networks (their Fig. 11)", {(INTRODUCTION, "figure", "11")}),
        ("as Ruthotto & Haber, eq. 4; Ho et al. (2020), equation 5", {(INTRODUCTION, "eq", "4")}),
        ("[1, eq. 9-12] References: [1] An Introduction to Deep Generative Modeling (2021) [2] Another",
         {(INTRODUCTION, "eq", "9"), (INTRODUCTION, "eq", "12")}),
        ("[1, eq. 4.5] References: [1] MCMC Methods for Functions (Cotter et al., 2013)", set()),
        ("(De Bortoli, Algorithm 1)", {(COURSE, "algorithm", "1")}),
        ("(Theis et al., 2016, section 3.1)", set()),
    ],
)  # fmt: skip
def test_citations_are_found(text, expected):
    assert {tuple(c[1:]) for c in citations(text, "here")} == expected
