"""Tables, sizes, ages and --format for people and scripts."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return text with control characters as escapes: what comes from outside must not steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    # A lone surrogate stands for an undecodable byte (PEP 383).
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()
