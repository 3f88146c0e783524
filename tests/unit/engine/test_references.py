"""References mean what they mean to Podman and Docker."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import PymanError
from engine.images import references

DIGEST = "sha256:" + "ab" * 32
# The grammar of distribution/reference, as its documentation gives it.
_DOMAIN = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
GRAMMAR = re.compile(
    rf"(?:{_DOMAIN}(?:\.{_DOMAIN})*(?::[0-9]+)?/)?{_PATH}(?:/{_PATH})*(?::[\w][\w.-]{{0,127}})?(?:@sha256:[0-9a-f]{{64}})?",
    re.ASCII,
)


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12", "docker.io/library/debian:12"),
        ("team/web", "docker.io/team/web:latest"),
        ("docker.io/debian", "docker.io/library/debian:latest"),
        ("index.docker.io/debian:1", "docker.io/library/debian:1"),
        ("docker://quay.io/a/b/c:v1", "quay.io/a/b/c:v1"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("127.0.0.1:5000/a/x:1", "127.0.0.1:5000/a/x:1"),
        ("HOST/x", "HOST/x:latest"),
        ("[::1]:5000/x", "[::1]:5000/x:latest"),
        (f"debian@{DIGEST}", f"docker.io/library/debian@{DIGEST}"),
        (f"debian:12@{DIGEST}", f"docker.io/library/debian@{DIGEST}"),
        ("a.b/c", "a.b/c:latest"),
        ("a__b/c--d.e:_T.x-1", "docker.io/a__b/c--d.e:_T.x-1"),
    ],
)
def test_meaning(text: str, stored: str) -> None:
    assert str(references.parse(text)) == stored


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", "@", "/", "a/", "/a", "a//b", "A", "a/B", "a:", "a@", "a b", "a:b:c", "a:-x", "a:" + "x" * 129),
        *(
            "-a",
            "a-",
            "a..b",
            "a___b",
            "_a",
            "a/../b",
            "..",
            ".",
            "../../x",
            "a.b/../c",
            "a.b/",
            "x.y:70000/a",
            "x.y:a/b",
        ),
        *("a@sha256:" + "AB" * 32, "a@md5:" + "ab" * 16, "a@sha256:ab", f"a@{DIGEST}x", "sha256:" + "a" * 64 + "/x:"),
        *(
            "a\n",
            "a\0b",
            "é",
            "a/é",
            "x" * 300,
            "oci:dir",
            "dir:/tmp/x",
            "docker-archive:x.tar",
            "ab" * 32,
            "-.b/c",
            "a:٣",
        ),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(PymanError) as caught:
        references.parse(text)
    assert str(caught.value).isprintable()


@given(st.text(alphabet="aZ0._-:/@\né", max_size=40))
def test_agrees_with_the_grammar(text: str) -> None:
    try:
        parsed = references.parse(text)
    except PymanError:
        return
    assert GRAMMAR.fullmatch(text)
    assert references.parse(str(parsed)) == parsed, "a stored name means itself"


@given(st.from_regex(GRAMMAR, fullmatch=True))
def test_accepts_the_grammar(text: str) -> None:
    try:
        references.parse(text)
    except PymanError as error:
        # Stricter than the grammar only in these points, as docker/distribution is: `0.0_0/x` would name a host.
        assert any(reason in str(error) for reason in ("longer than", "64 hexadecimal", "lowercase", "registry host"))


def test_local_names_and_candidates() -> None:
    assert str(references.local("web")) == "localhost/web:latest"
    assert references.candidates("web:1") == ["localhost/web:1", "docker.io/library/web:1"]
    assert references.candidates("quay.io/web") == ["quay.io/web:latest"]
    with pytest.raises(PymanError):
        references.local(f"web@{DIGEST}")


def test_stored_names_are_split() -> None:
    assert references.split_stored("localhost:5000/a:1") == ("localhost:5000/a", "1")
    assert references.split_stored(f"localhost:5000/a@{DIGEST}") == ("localhost:5000/a", "")
