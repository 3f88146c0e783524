"""Which ids of the host stand for which ids of a container. Pure: text and ranges in, ranges out."""

from __future__ import annotations

from rootless.errors import IdMapError
from rootless.record import Record


class IdRange(Record):
    """`count` ids: `inside` + n in the container is `outside` + n in the caller's namespace (user_namespaces(7))."""

    inside: int
    outside: int
    count: int


class Maps(Record):
    """The two maps of a user namespace. `single` means that only one id could be mapped: no subordinate ids."""

    uids: tuple[IdRange, ...]
    gids: tuple[IdRange, ...]
    single: bool = False


def parse_subid(text: str, user: str, uid: int, *, source: str) -> list[tuple[int, int]]:
    """Return the (first, count) ranges granted to the user, in file order.

    Lines are name-or-uid:first:count (subuid(5)). Raises IdMapError, with the line number, for anything else.
    """
    ranges = []
    for number, line in enumerate(text.split("\n"), 1):
        owner, _, rest = line.partition(":")
        if owner not in (user, str(uid)) or not owner:
            continue
        first, _, count = rest.partition(":")
        if not (first.isdecimal() and count.isdecimal()):
            raise IdMapError(f"{source}, line {number}: not name:first:count: {line[:60]!r}")
        if int(count):
            ranges.append((int(first), int(count)))
    return ranges


def root_and_subordinates(own_id: int, subordinates: list[tuple[int, int]]) -> tuple[IdRange, ...]:
    """Return the default map: the caller is 0, subordinate ids follow from 1 on."""
    ranges = [IdRange(0, own_id, 1)]
    next_inside = 1
    for first, count in subordinates:
        ranges.append(IdRange(next_inside, first, count))
        next_inside += count
    return tuple(ranges)


def keep_id(own_id: int, inside_id: int, subordinates: list[tuple[int, int]]) -> tuple[IdRange, ...]:
    """Return the map in which the caller is `inside_id` and the subordinate ids fill the places around it."""
    ranges = []
    next_inside = 0
    for first, count in subordinates:
        while count:
            if next_inside == inside_id:
                next_inside += 1
            room = inside_id - next_inside if next_inside < inside_id else count
            take = min(room, count)
            ranges.append(IdRange(next_inside, first, take))
            next_inside, first, count = next_inside + take, first + take, count - take
    ranges.append(IdRange(inside_id, own_id, 1))
    return tuple(sorted(ranges, key=lambda r: r.inside))


def parse_proc_map(text: str) -> tuple[IdRange, ...]:
    """Parse /proc/PID/uid_map: the ids that exist in a namespace."""
    return tuple(IdRange(*map(int, line.split())) for line in text.splitlines())


def identity(existing: tuple[IdRange, ...], *, limit: int = 0x7FFFFFFF) -> tuple[IdRange, ...]:
    """Return the map under which every id that exists for the caller keeps its number (for a caller who is root)."""
    return tuple(IdRange(r.inside, r.inside, min(r.count, limit - r.inside)) for r in existing if r.inside < limit)


def to_outside(ranges: tuple[IdRange, ...], inside_id: int) -> int | None:
    """Return the caller's id for an id of the container, or None if it is not mapped."""
    for r in ranges:
        if r.inside <= inside_id < r.inside + r.count:
            return r.outside + inside_id - r.inside
    return None


def to_inside(ranges: tuple[IdRange, ...], outside_id: int) -> int | None:
    """Return the container's id for an id of the caller's namespace, or None if it is not mapped."""
    for r in ranges:
        if r.outside <= outside_id < r.outside + r.count:
            return r.inside + outside_id - r.outside
    return None


def text(ranges: tuple[IdRange, ...]) -> str:
    """Return the lines to write to /proc/PID/uid_map."""
    return "".join(f"{r.inside} {r.outside} {r.count}\n" for r in ranges)
