from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.errors import KernelError
from rootless.users import User, lookup_user

PASSWD = """\
root:x:0:0:root:/root:/bin/bash
# comment:x:9:9::/:
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin

broken:x:abc:1::/:/bin/sh
negative:x:-5:1::/:/bin/sh
huge:x:4294967296:1::/:/bin/sh
short:x:7
app:x:1000:1001:App:/home/app:/bin/sh
nohome:x:1005:1005
77:x:1077:1077:a name of digits:/home/77:/bin/sh
"""
GROUP = """\
root:x:0:
daemon:x:1:
bad:x:zero:app
audio:x:29:app,daemon
video:x:44:app
app:x:1001:
empty:x:50
"""


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("", User(0, 0, (0,), "/root", "root")),
        ("root", User(0, 0, (0,), "/root", "root")),
        ("root:", User(0, 0, (0,), "/root", "root")),
        ("0", User(0, 0, (0,), "/root", "root")),
        ("app", User(1000, 1001, (1001, 29, 44), "/home/app", "app")),
        ("1000", User(1000, 1001, (1001, 29, 44), "/home/app", "app")),
        ("01000", User(1000, 1001, (1001, 29, 44), "/home/app", "app")),
        ("app:audio", User(1000, 29, (29,), "/home/app", "app")),
        ("app:5", User(1000, 5, (5,), "/home/app", "app")),
        ("1", User(1, 1, (1, 29), "/usr/sbin", "daemon")),
        ("1:2", User(1, 2, (2,), "/usr/sbin", "daemon")),
        (":5", User(0, 5, (5,), "/root", "root")),
        (":audio", User(0, 29, (29,), "/root", "root")),
        ("4242", User(4242, 0, (0,), "/", "")),
        ("4242:audio", User(4242, 29, (29,), "/", "")),
        ("2147483647", User(2147483647, 0, (0,), "/", "")),
        ("nohome", User(1005, 1005, (1005,), "/", "nohome")),
        ("77", User(1077, 1077, (1077,), "/home/77", "77")),
    ],
)
def test_lookup(spec: str, expected: User) -> None:
    assert lookup_user(PASSWD, GROUP, spec) == expected


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("nosuch", "unable to find user nosuch: no matching entries in passwd file"),
        ("nosuch:1", "unable to find user nosuch: no matching entries in passwd file"),
        ("1abc", "unable to find user 1abc: no matching entries in passwd file"),
        ("+1", "unable to find user +1: no matching entries in passwd file"),
        ("1.5", "unable to find user 1.5: no matching entries in passwd file"),
        ("1_0", "unable to find user 1_0: no matching entries in passwd file"),
        (" 1", "unable to find user  1: no matching entries in passwd file"),
        ("\u0661", "unable to find user \u0661: no matching entries in passwd file"),
        ("broken", "unable to find user broken: no matching entries in passwd file"),
        ("short", "unable to find user short: no matching entries in passwd file"),
        ("huge", "unable to find user huge: no matching entries in passwd file"),
        ("# comment", "unable to find user # comment: no matching entries in passwd file"),
        ("1:nosuch", "unable to find group nosuch: no matching entries in group file"),
        ("1000:1000:5", "unable to find group 1000:5: no matching entries in group file"),
        ("app:bad", "unable to find group bad: no matching entries in group file"),
        ("-1", "uids and gids must be in range 0-2147483647: -1"),
        ("4294967295", "uids and gids must be in range 0-2147483647: 4294967295"),
        ("4294967296", "uids and gids must be in range 0-2147483647: 4294967296"),
        ("2147483648", "uids and gids must be in range 0-2147483647: 2147483648"),
        ("0:-1", "uids and gids must be in range 0-2147483647: -1"),
        ("9" * 5000, "uids and gids must be in range 0-2147483647: " + "9" * 40),
    ],
)
def test_errors(spec: str, text: str) -> None:
    with pytest.raises(KernelError) as caught:
        lookup_user(PASSWD, GROUP, spec)
    assert str(caught.value) == text


def test_extra_groups_are_added_to_both_kinds() -> None:
    assert lookup_user(PASSWD, GROUP, "app", extra_groups=["7", "root"]).groups == (1001, 29, 44, 7, 0)
    assert lookup_user(PASSWD, GROUP, "1:2", extra_groups=["audio", "2"]).groups == (2, 29)
    with pytest.raises(KernelError, match="unable to find group nosuch"):
        lookup_user(PASSWD, GROUP, "app", extra_groups=["nosuch"])


def test_an_image_without_the_files_runs_numbers_and_root_only() -> None:
    assert lookup_user("", "", "") == User(0, 0, (0,), "/", "")
    assert lookup_user("", "", "5:6") == User(5, 6, (6,), "/", "")
    with pytest.raises(KernelError):
        lookup_user("", "", "root")


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=20))
def test_whatever_the_files_say_ids_are_in_range(passwd: str, group: str, spec: str) -> None:
    try:
        user = lookup_user(passwd, group, spec)
    except KernelError:
        return
    assert all(0 <= number <= 0x7FFFFFFF for number in (user.uid, user.gid, *user.groups))


@given(st.text(alphabet="x:0-9\n", max_size=60))
def test_a_malformed_line_never_makes_a_named_user_root(rest: str) -> None:
    passwd = f"victim:x:{rest.replace('0', 'o')}\n"
    try:
        assert lookup_user(passwd, "", "victim").uid != 0
    except KernelError:
        pass
