"""Who runs in a container: `-u` and `--group-add` against the image's own passwd and group files. Pure: text in."""

from __future__ import annotations

from rootless.errors import KernelError
from rootless.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_MAX_ID = 0x7FFFFFFF


class User(Record):
    """A user as the container knows it. `groups` are the supplementary ones, the primary among them."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"
    name: str = ""  # empty if the image has no user with this number


def lookup_user(passwd: str, group: str, spec: str, *, extra_groups: Iterable[str] = ()) -> User:
    """Return the user for `[NAME|UID][:NAME|GID]`, by Podman's rules; empty means root.

    A number need not exist in the files; a name must. A user given without a group gets the group of its passwd line
    and those that list it; one given with a group gets that group alone. `extra_groups` are added in both cases. The
    primary group is always among the supplementary ones: else a program could leave it by a change of its group id,
    and with it a denial by group permissions (CVE-2022-2989). Raises KernelError.
    """
    user_part, _, group_part = spec.partition(":")
    wanted_uid = _number(user_part) if user_part else 0
    user = _find_user(passwd, user_part, wanted_uid)
    if user is None:
        if wanted_uid is None:
            raise KernelError(f"unable to find user {user_part}: no matching entries in passwd file")
        user = User(wanted_uid, 0)
    if group_part:
        gid = _find_group(group, group_part)
        groups = [gid]
    else:
        gid = user.gid
        groups = [gid, *_memberships(group, user.name)]
    groups += [_find_group(group, name) for name in extra_groups]
    return user.replace(gid=gid, groups=tuple(dict.fromkeys(groups)))


def _number(text: str) -> int | None:
    """Return an id, or None for what is a name: anything but digits (`1abc`, `+1`, `1.5` are names that do not exist).

    Raises KernelError for a number out of range, a negative one included.
    """
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    number = int(digits) if len(digits) < 20 else _MAX_ID + 1
    if text.startswith("-") or number > _MAX_ID:
        raise KernelError(f"uids and gids must be in range 0-{_MAX_ID}: {text[:40]}")
    return number


def _find_user(passwd: str, name: str, uid: int | None) -> User | None:
    """Return the first entry with the name or the number."""
    for fields in _entries(passwd, 4):
        entry_uid, entry_gid = _entry_id(fields[2]), _entry_id(fields[3])
        if entry_uid is None or entry_gid is None:
            continue
        if (name and fields[0] == name) or entry_uid == uid:
            home = fields[5] if len(fields) > 5 and fields[5] else "/"
            return User(entry_uid, entry_gid, (), home, fields[0])
    return None


def _find_group(group: str, wanted: str) -> int:
    number = _number(wanted)
    for fields in _entries(group, 3):
        gid = _entry_id(fields[2])
        if gid is not None and (fields[0] == wanted or gid == number):
            return gid
    if number is None:
        raise KernelError(f"unable to find group {wanted}: no matching entries in group file")
    return number


def _memberships(group: str, user_name: str) -> Iterator[int]:
    for fields in _entries(group, 4):
        gid = _entry_id(fields[2])
        if gid is not None and user_name and user_name in fields[3].split(","):
            yield gid


def _entries(text: str, minimum_fields: int) -> Iterator[list[str]]:
    for line in text.split("\n"):
        fields = line.strip().split(":")
        if len(fields) >= minimum_fields and fields[0] and not line.startswith("#"):
            yield fields


def _entry_id(text: str) -> int | None:
    """Return the number in a passwd or group line, or None: a malformed one must not come out as 0, root."""
    if not (text.isascii() and text.isdecimal()) or len(text) > 10 or int(text) > _MAX_ID:
        return None
    return int(text)
