"""The same values and the same refusals as `json`, which is slower to import."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless import jsontext

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


@given(VALUES)
def test_there_and_back(value: object) -> None:
    text = jsontext.dumps(value)
    assert text.isascii() and "\n" not in text
    assert jsontext.loads(text) == value
    assert text == json.dumps(value, separators=(",", ":"))
    assert jsontext.loads(text.encode()) == value
    assert jsontext.loads(json.dumps(value, indent=3, ensure_ascii=False)) == value
    assert json.loads(jsontext.dumps_indented(value)) == value


@given(st.text(alphabet='{}[]":,0123456789.eE+-truefalsn \\u\n\t', max_size=30))
def test_other_text_is_taken_or_refused_as_json_does(text: str) -> None:
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r".+"):
            jsontext.loads(text)
        return
    result = jsontext.loads(text)
    assert result == expected or (isinstance(result, float) and math.isnan(result) and math.isnan(expected))


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        '{"a":}',
        "[1,]",
        "[1 2]",
        "nul",
        "1 2",
        "{}x",
        '"\n"',
        "'a'",
        "\ufeff{}",
        b"\xff",
        b"\xef\xbb\xbf{}",
    ],
)
def test_bad_text(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        jsontext.loads(text)


def test_a_refused_text_leaves_nothing_behind() -> None:
    with pytest.raises(ValueError, match=r".+"):
        jsontext.loads('{"key": 1, "other": }')
    assert jsontext.loads('{"key": 2}') == {"key": 2}


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", {"a": object()}, math.nan, math.inf])
def test_what_is_not_json_cannot_be_written(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        jsontext.dumps(value)


def test_json_itself_is_not_loaded() -> None:
    code = (
        "import sys; from rootless import jsontext; value = {'a': [1, None]}; "
        "assert jsontext.loads(jsontext.dumps(value)) == value; "
        "print(sorted({'json', 're', 'enum', 'functools'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True).stdout
    assert output == "[]\n"
