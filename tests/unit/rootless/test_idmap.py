from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless import idmap
from rootless.errors import IdMapError
from rootless.idmap import IdRange

SUBORDINATES = st.lists(st.integers(1, 5000), min_size=1, max_size=4).map(
    lambda counts: [(100000 + 10000 * index, count) for index, count in enumerate(counts)]
)


def _pairs(ranges: tuple[IdRange, ...]) -> dict[int, int]:
    pairs: dict[int, int] = {}
    for r in ranges:
        assert r.count > 0
        for offset in range(r.count):
            assert r.inside + offset not in pairs
            pairs[r.inside + offset] = r.outside + offset
    assert len(set(pairs.values())) == len(pairs)
    return pairs


SUBUID = """\
root:100000:65536
ann:165536:65536

1001:300000:1000
bob:400000:0
ann:500000:10
"""


@pytest.mark.parametrize(
    ("user", "uid", "expected"),
    [
        ("ann", 1001, [(165536, 65536), (300000, 1000), (500000, 10)]),
        ("ann", 7, [(165536, 65536), (500000, 10)]),
        ("bob", 7, []),
        ("nobody", 7, []),
        ("", 7, []),
    ],
)
def test_parse_subid(user: str, uid: int, expected: list[tuple[int, int]]) -> None:
    assert idmap.parse_subid(SUBUID, user, uid, source="/etc/subuid") == expected


@pytest.mark.parametrize(
    "line", ["ann", "ann:", "ann:1", "ann:1:", "ann:x:5", "ann:1:5:6", "ann:-1:5", "ann:1:5 ", "ann: 1:5"]
)
def test_a_malformed_line_is_named(line: str) -> None:
    with pytest.raises(IdMapError, match="/etc/subuid, line 2: not name:first:count"):
        idmap.parse_subid(f"root:1:2\n{line}\n", "ann", 1001, source="/etc/subuid")


def test_others_lines_do_not_matter() -> None:
    assert idmap.parse_subid("broken line\nann:5:6", "ann", 1, source="x") == [(5, 6)]


def test_default_map() -> None:
    assert idmap.root_and_subordinates(1001, [(100, 3), (500, 2)]) == (
        IdRange(0, 1001, 1),
        IdRange(1, 100, 3),
        IdRange(4, 500, 2),
    )
    assert idmap.root_and_subordinates(1001, []) == (IdRange(0, 1001, 1),)


@given(SUBORDINATES)
def test_default_map_is_without_holes(subordinates: list[tuple[int, int]]) -> None:
    pairs = _pairs(idmap.root_and_subordinates(1001, subordinates))
    assert sorted(pairs) == list(range(1 + sum(count for _, count in subordinates)))
    assert pairs[0] == 1001


@given(SUBORDINATES, st.integers(0, 20000))
def test_keep_id(subordinates: list[tuple[int, int]], inside_id: int) -> None:
    pairs = _pairs(idmap.keep_id(1001, inside_id, subordinates))
    total = sum(count for _, count in subordinates)
    assert pairs[inside_id] == 1001
    assert len(pairs) == total + 1
    # The subordinate ids keep their order, and fill all places up to their number but the user's own.
    others = [inside for inside in sorted(pairs) if inside != inside_id]
    assert others == [inside for inside in range(total + 1) if inside != inside_id][:total]
    assert [pairs[inside] for inside in others] == [first + n for first, count in subordinates for n in range(count)]


@given(SUBORDINATES, st.integers(0, 30000))
def test_lookups_are_inverse(subordinates: list[tuple[int, int]], number: int) -> None:
    ranges = idmap.root_and_subordinates(1001, subordinates)
    outside = idmap.to_outside(ranges, number)
    assert outside == _pairs(ranges).get(number)
    if outside is not None:
        assert idmap.to_inside(ranges, outside) == number
    assert idmap.to_inside(ranges, 99) is None


def test_text_is_what_the_kernel_shows() -> None:
    ranges = idmap.root_and_subordinates(1001, [(100000, 65536)])
    assert idmap.text(ranges) == "0 1001 1\n1 100000 65536\n"
    assert idmap.parse_proc_map("         0       1001          1\n         1     100000      65536\n") == ranges
    assert idmap.parse_proc_map(idmap.text(ranges)) == ranges


def test_identity() -> None:
    assert idmap.identity((IdRange(0, 0, 4294967295),)) == (IdRange(0, 0, 0x7FFFFFFF),)
    assert idmap.identity((IdRange(0, 1001, 1), IdRange(1, 100000, 65536))) == (IdRange(0, 0, 1), IdRange(1, 1, 65536))
    assert idmap.identity((IdRange(0xFFFFFFF0, 0, 5),)) == ()
