"""A profile as the `linux.seccomp` object of the runtime spec, for runtimes that compile it with libseccomp.

Conditions on capabilities and architectures are decided here. And libseccomp has another order: a rule without
arguments wins over those with, and of two rules the one with fewer conditions. So "all ioctls but this one", which our
order says in two rules, has to be said with rules that only allow: one for each bit in which a request can differ.
One thing cannot be said: libseccomp takes a rule on socket(2) for 32-bit socketcall(2), too, and so opens it.
"""

from __future__ import annotations

from rootless.seccomp_profile import applicable, architectures

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.seccomp_profile import Argument, Profile, Rule

_WORD = 0xFFFFFFFF
_ALLOW = "SCMP_ACT_ALLOW"


def to_oci(profile: Profile, capabilities: int, *, architecture: str = "") -> dict[str, object]:
    """Return the object for a bounding set and an architecture."""
    by_name: dict[str, list[Rule]] = {}
    for rule in applicable(profile, capabilities, architecture=architecture):
        for name in rule["names"]:
            by_name.setdefault(name, []).append(rule)
    denies = profile["defaultAction"] != _ALLOW
    rules: list[dict[str, object]] = []
    names_of: dict[int, list[str]] = {}  # rules that are taken over as they are keep their names together
    for name, own_rules in by_name.items():
        if denies and len(own_rules) > 1:
            rules += [{"names": [name], "action": _ALLOW, "args": args} for args in _allowed(own_rules) if args]
            rules += [{"names": [name], "action": _ALLOW} for args in _allowed(own_rules) if not args]
            continue
        for rule in own_rules:
            if id(rule) not in names_of:
                names_of[id(rule)] = []
                rules.append(_plain(rule, names_of[id(rule)]))
            names_of[id(rule)].append(name)
    result: dict[str, object] = {"defaultAction": profile["defaultAction"], "syscalls": rules}
    if "defaultErrnoRet" in profile:
        result["defaultErrnoRet"] = profile["defaultErrnoRet"]
    if profile.get("flags"):
        result["flags"] = profile["flags"]
    result["architectures"] = [f"SCMP_ARCH_{name.upper()}" for name in architectures(profile, architecture)]
    return result


def _plain(rule: Rule, names: list[str]) -> dict[str, object]:
    item: dict[str, object] = {"names": names, "action": rule["action"]}
    if "errnoRet" in rule:
        item["errnoRet"] = rule["errnoRet"]
    if rule.get("args"):
        item["args"] = rule["args"]
    return item


def _allowed(rules: list[Rule]) -> list[list[Argument]]:
    """Return conditions that together allow what the rules of one call allow, in our order; nothing else matters.

    A denial that lies within what a later rule allows is cut out of it; one that cannot be cut out takes the rule with
    it: stricter, never laxer.
    """
    ordered = [rule for rule in rules if rule.get("args")] + [rule for rule in rules if not rule.get("args")][:1]
    result: list[list[Argument]] = []
    denied: list[list[Argument]] = []
    for rule in ordered:
        args = rule.get("args") or []
        if rule["action"] != _ALLOW:
            denied.append(args)
            continue
        holes = [hole for hole in denied if not _disjoint(hole, args)]
        if not holes:
            result.append(args)
            continue
        extra = [[argument for argument in hole if argument not in args] for hole in holes]
        index = extra[0][0]["index"] if extra[0] else -1
        if all(len(hole) == 1 and hole[0]["index"] == index and _is_word(hole[0]) for hole in extra) and index not in (
            argument["index"] for argument in args
        ):
            numbers = [hole[0].get("valueTwo", 0) for hole in extra]
            result += [[*args, argument] for argument in other_than(index, numbers)]
    return result


def _is_word(argument: Argument) -> bool:
    """Tell whether the condition is that the lower 32 bits have one value."""
    return argument["op"] == "SCMP_CMP_MASKED_EQ" and argument["value"] == _WORD


def _disjoint(first: list[Argument], second: list[Argument]) -> bool:
    """Tell whether two sets of conditions surely exclude each other: the same argument with two values."""
    return any(
        _is_word(a) and _is_word(b) and a["index"] == b["index"] and a.get("valueTwo") != b.get("valueTwo")
        for a in first
        for b in second
    )


def other_than(index: int, numbers: list[int]) -> list[Argument]:
    """Return conditions of which exactly one holds for every 32-bit value but `numbers`.

    They are the prefixes of values that are not prefixes of any of the numbers, but would be without their last bit.
    """
    conditions: list[Argument] = []
    for length in range(1, 33):
        taken = {number >> (32 - length) for number in numbers}
        for parent in sorted({number >> (33 - length) for number in numbers}):
            for prefix in (parent * 2, parent * 2 + 1):
                if prefix not in taken:
                    shift = 32 - length
                    mask = _WORD >> shift << shift
                    conditions.append(
                        {"index": index, "value": mask, "valueTwo": prefix << shift, "op": "SCMP_CMP_MASKED_EQ"}
                    )
    return conditions
