from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import names
from storage.errors import NameTaken

NAMES = st.text(alphabet=st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1, max_size=40)


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(tmp_path)


def test_claim_and_release(directory: str) -> None:
    assert names.lookup(directory, "web") is None
    names.claim(directory, "web", "id1")
    assert names.lookup(directory, "web") == "id1"
    with pytest.raises(NameTaken) as caught:
        names.claim(directory, "web", "id2")
    assert (caught.value.name, caught.value.holder) == ("web", "id1")
    assert str(caught.value) == 'the name "web" is already in use by id1'
    names.release(directory, "web")
    names.claim(directory, "web", "id2")
    assert names.all_names(directory) == [("web", "id2")]


def test_release_of_a_name_that_means_something_else(directory: str) -> None:
    names.claim(directory, "web", "id1")
    names.release(directory, "web", "id2")
    assert names.lookup(directory, "web") == "id1"
    names.release(directory, "web", "id1")
    assert names.lookup(directory, "web") is None
    names.release(directory, "web")
    names.release(directory, "web", "id1")


def test_point_replaces(directory: str) -> None:
    names.point(directory, "docker.io/library/debian:12", "id1")
    names.point(directory, "docker.io/library/debian:12", "id2")
    assert names.all_names(directory) == [("docker.io/library/debian:12", "id2")]
    assert os.listdir(directory) == ["docker.io%2Flibrary%2Fdebian:12"]


def test_a_writer_that_died_in_between_does_not_show(directory: str) -> None:
    os.symlink("id1", f"{directory}/web~{os.getpid()}")
    assert names.all_names(directory) == []
    names.point(directory, "web", "id2")
    assert names.all_names(directory) == [("web", "id2")]


def test_of_many_claims_one_wins(directory: str) -> None:
    pids = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                names.claim(directory, "web", f"id{number}")
            except NameTaken:
                os._exit(1)
            os._exit(0)
        pids.append(pid)
    assert sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids) == [0] + [1] * 7


@given(NAMES)
def test_escaping_is_reversible_and_gives_one_file_name(name: str) -> None:
    entry = names.escape(name)
    assert "/" not in entry and "~" not in entry
    assert names.unescape(entry) == name


@given(NAMES, NAMES)
def test_different_names_are_different_files(first: str, second: str) -> None:
    assert (names.escape(first) == names.escape(second)) == (first == second)


@given(st.sets(NAMES.filter(lambda name: name not in (".", "..")), max_size=5))
def test_all_names(tmp_path_factory: pytest.TempPathFactory, given_names: set[str]) -> None:
    directory = str(tmp_path_factory.mktemp("names"))
    for name in given_names:
        names.claim(directory, name, "id")
    assert {name for name, _ in names.all_names(directory)} == given_names
