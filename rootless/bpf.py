"""Rules about system calls to a BPF program (seccomp(2)). Pure: numbers in, bytes out.

The order is ours, and simple: for one system call the rules that look at arguments are asked first, in their order; the
first that matches decides; then the rule without arguments; then the default. (libseccomp lets the rule without
arguments win, so that "all ioctls but this one" cannot be said with it.)
"""

from __future__ import annotations

import struct
import sys

from rootless.record import Record

# bpf_common.h: class | size or operation | mode or source
_LD_WORD = 0x20
_JUMP = 0x05
_JUMP_EQ = 0x15
_JUMP_GT = 0x25
_JUMP_GE = 0x35
_AND = 0x54
_RETURN = 0x06

# struct seccomp_data
_OFFSET_NUMBER = 0
_OFFSET_ARCH = 4
_OFFSET_ARGS = 16
_WORD = 0xFFFFFFFF
_64BIT = 0x80000000  # __AUDIT_ARCH_64BIT
X32_BIT = 0x40000000  # set in the numbers of x32 calls, which come under the architecture of x86_64
_ARCH_X86_64 = 0xC000003E

Code = list[tuple[int, int, int, int]]  # (code, jump if true, jump if false, k); every path ends in a return


class Comparison(Record):
    """A condition on argument `index`. For MASKED_EQ: (argument & value) == second."""

    index: int
    operator: str  # NE LT LE EQ GE GT MASKED_EQ
    value: int
    second: int = 0


class Outcome(Record):
    """What happens to one system call: the first of `rules` whose comparisons all hold decides, else `otherwise`."""

    otherwise: int
    rules: tuple[tuple[tuple[Comparison, ...], int], ...] = ()


class Table(Record):
    """The outcomes of one architecture by system call number, and the default."""

    arch: int  # AUDIT_ARCH_*
    outcomes: dict[int, Outcome]
    default: int
    is_32bit: bool = False  # only the lower halves of arguments count


def program(tables: list[Table], other_arch: int) -> bytes:
    """Return the program; `other_arch` answers calls by an architecture without a table."""
    code: Code = [(_RETURN, 0, 0, other_arch)]
    for table in reversed(tables):
        block = _table(table, other_arch)
        code = [*_branch(_JUMP_EQ, table.arch, block, code)]
    return _pack([(_LD_WORD, 0, 0, _OFFSET_ARCH), *code])


def _table(table: Table, other_arch: int) -> Code:
    """Return the code that decides by number, which it loads first."""
    ranges: list[tuple[int, Outcome]] = []  # (first number, outcome), up to the next one's first number
    default = Outcome(table.default)

    def begin(number: int, outcome: Outcome) -> None:
        if ranges and ranges[-1][0] == number:
            ranges.pop()
        if not ranges or ranges[-1][1] != outcome:
            ranges.append((number, outcome))

    begin(0, default)
    for number in sorted(table.outcomes):
        begin(number, table.outcomes[number])
        begin(number + 1, default)
    if table.arch == _ARCH_X86_64 and not any(number & X32_BIT for number in table.outcomes):
        begin(X32_BIT, Outcome(other_arch))
    return [(_LD_WORD, 0, 0, _OFFSET_NUMBER), *_search(ranges, table.is_32bit)]


def _search(ranges: list[tuple[int, Outcome]], is_32bit: bool) -> Code:
    """Return a balanced tree of comparisons over sorted ranges."""
    if len(ranges) == 1:
        return _outcome(ranges[0][1], is_32bit)
    middle = len(ranges) // 2
    upper, lower = _search(ranges[middle:], is_32bit), _search(ranges[:middle], is_32bit)
    return _branch(_JUMP_GE, ranges[middle][0], upper, lower)


def _branch(code: int, k: int, if_true: Code, if_false: Code) -> Code:
    """Return `if_true` or `if_false`, after a comparison; conditional jumps reach 255 instructions, plain ones all."""
    if len(if_true) <= 255:
        return [(code, 0, len(if_true), k), *if_true, *if_false]
    return [(code, 1, 0, k), (_JUMP, 0, 0, len(if_true)), *if_true, *if_false]


def _outcome(outcome: Outcome, is_32bit: bool) -> Code:
    code: Code = []
    for comparisons, action in outcome.rules:
        code += _rule(comparisons, action, is_32bit)
    return [*code, (_RETURN, 0, 0, outcome.otherwise)]


def _rule(comparisons: tuple[Comparison, ...], action: int, is_32bit: bool) -> Code:
    """Return code that ends with the action if all comparisons hold, else goes on behind itself."""
    code: Code = [(_RETURN, 0, 0, action)]
    for comparison in reversed(comparisons):
        code = _compare(comparison, code, is_32bit)
    return code


def _compare(comparison: Comparison, then: Code, is_32bit: bool) -> Code:
    """Put a comparison before `then`: control reaches `then` if it holds, else the end of the whole."""
    value, second, operator = comparison.value, comparison.second, comparison.operator
    high, low = value >> 32, value & _WORD
    low_offset = _OFFSET_ARGS + 8 * comparison.index + (0 if sys.byteorder == "little" else 4)
    load_low = (_LD_WORD, 0, 0, low_offset)
    load_high = (_LD_WORD, 0, 0, low_offset + (4 if sys.byteorder == "little" else -4))
    past = len(then)  # a jump of this length from the instruction before `then` leaves the rule

    if operator == "MASKED_EQ":
        code = list(then)
        for load, mask, wanted in ((load_low, low, second & _WORD), (load_high, high, second >> 32)):
            if mask == 0 or (is_32bit and load is load_high):
                continue
            masked = [] if mask == _WORD else [(_AND, 0, 0, mask)]
            code = [load, *masked, (_JUMP_EQ, 0, len(code), wanted & mask), *code]
        return code

    # The lower halves decide if the upper ones are equal. `NE` is a jump over what `EQ` enters.
    last = {
        "EQ": (_JUMP_EQ, 0, past, low),
        "NE": (_JUMP_EQ, past, 0, low),
        "GT": (_JUMP_GT, 0, past, low),
        "LE": (_JUMP_GT, past, 0, low),
        "GE": (_JUMP_GE, 0, past, low),
        "LT": (_JUMP_GE, past, 0, low),
    }[operator]
    if is_32bit:
        return [load_low, last, *then]
    behind_low = 2  # instructions between a jump on the upper half and `then`
    upper = {
        "EQ": [(_JUMP_EQ, 0, behind_low + past, high)],
        "NE": [(_JUMP_EQ, 0, behind_low, high)],
        "GT": [(_JUMP_GT, behind_low + 1, 0, high), (_JUMP_EQ, 0, behind_low + past, high)],
        "GE": [(_JUMP_GT, behind_low + 1, 0, high), (_JUMP_EQ, 0, behind_low + past, high)],
        "LT": [(_JUMP_GT, behind_low + 1 + past, 0, high), (_JUMP_EQ, 0, behind_low, high)],
        "LE": [(_JUMP_GT, behind_low + 1 + past, 0, high), (_JUMP_EQ, 0, behind_low, high)],
    }[operator]
    return [load_high, *upper, load_low, last, *then]


def _pack(code: Code) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
