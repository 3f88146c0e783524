from __future__ import annotations

import copy

import pytest

from rootless.record import Record


class Point(Record):
    x: int
    y: int = 0
    name: str = ""


class Point3(Point):
    z: int = 7


def test_fields_by_position_and_name() -> None:
    point = Point(1, name="a")
    assert (point.x, point.y, point.name) == (1, 0, "a")
    assert point == Point(x=1, y=0, name="a")
    assert repr(point) == "Point(x=1, y=0, name='a')"
    assert point.as_dict() == {"x": 1, "y": 0, "name": "a"}


def test_inherited_fields_come_first() -> None:
    assert Point3(1, 2, "n", 3).as_dict() == {"x": 1, "y": 2, "name": "n", "z": 3}
    assert Point3(1) == Point3(1, 0, "", 7)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [((), {}), ((1, 2, "", 4), {}), ((1,), {"x": 2}), ((1,), {"nonsense": 2}), ((), {"y": 1})],
)
def test_wrong_arguments(arguments: tuple[int, ...], named: dict[str, int]) -> None:
    with pytest.raises(TypeError, match="Point"):
        Point(*arguments, **named)  # type: ignore[arg-type]


def test_frozen() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match=r"Point\.x is read-only"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        point.other = 2


def test_replace_makes_a_copy() -> None:
    point = Point(1, 2)
    assert point.replace(y=5) == Point(1, 5)
    assert point.y == 2
    with pytest.raises(TypeError):
        point.replace(nonsense=1)


def test_equality_needs_the_same_type() -> None:
    assert Point(1) != Point3(1)
    assert Point(1) != (1, 0, "")
    assert len({Point(1), Point(1, 0), Point(2)}) == 2


def test_copies_are_equal() -> None:
    point = Point(1, 2)
    assert copy.deepcopy(point) == point
