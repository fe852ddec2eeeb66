"""YAML is read as plain data, within bounds, or refused with the line."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmcore.errors import RegistryError
from dgmcore.files import yaml

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
    | st.sampled_from(["1e3", "no", "null", "~", "0x1f", "2024-01-01", "<<", "=", "1_000", "12:30", ".5", "+1", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(plain)
def test_what_is_written_is_read_back(data):
    assert yaml.read(yaml.dump(data)) == data


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-5.0E+2", -500.0),
        (".5", 0.5),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"),
        (".inf", ".inf"),
        ("", None),
        ("[1, a, true, ~]", [1, "a", True, None]),
        ("{<<: {a: 1}}", {"<<": {"a": 1}}),
    ],
)
def test_scalars_follow_yaml_1_2(text, value):
    assert yaml.read(text) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: &x 1\nb: *x", "anchors"),
        ("b: *x", "aliases"),
        ("!!python/object/apply:os.system [ls]", "tags"),
        ("a: !!str 1", "tags"),
        ("a: 1\nb:\n  c: 2\n  c: 3", "line 4: the key c is there twice"),
        ("1: 2", "keys are text"),
        ("? [a]\n: b", "keys are text"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("[" * 33, "nested more than 32 deep"),
        ("{a: " * 100_000, "nested more than 32 deep"),
        ("a: 1e999", "too large"),
        ("a: " + "9" * 5000, "more than 40 digits"),
        ("a: [", "line"),
        ("a:\n\t- b", "line 2"),
        ("a: \x00", "control characters"),
        (b"a: \xff\xfe", "not UTF-8"),
    ],
)
def test_what_is_not_taken_is_named(text, problem):
    with pytest.raises(RegistryError, match=problem):
        yaml.read(text)


def test_size_is_bounded_before_anything_is_parsed(tmp_path):
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text("a: " + "x" * 2_000_000)
    start = time.perf_counter()
    with pytest.raises(RegistryError, match=r"bomb\.yaml: larger than 1,000,000 bytes"):
        yaml.read(bomb)
    with pytest.raises(RegistryError, match="larger than 10 bytes"):
        yaml.read("a: bcdefghijkl", max_bytes=10)
    assert time.perf_counter() - start < 1


def test_a_path_that_is_no_file_is_an_error(tmp_path):
    with pytest.raises(RegistryError, match="No such file"):
        yaml.read(tmp_path / "none.yaml")
    with pytest.raises(RegistryError, match=r"not a file|a directory"):
        yaml.read(tmp_path)


@settings(max_examples=300, deadline=1000)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@`#,?\n\t 01.~", max_size=60))
def test_arbitrary_text_is_read_or_refused(text):
    try:
        data = yaml.read(text)
    except RegistryError as e:
        assert "\n" not in e.what
    else:
        assert data is None or isinstance(data, (str, int, float, list, dict, bool))
        assert not isinstance(data, float) or math.isfinite(data)
