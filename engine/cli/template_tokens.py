"""The text of a template to tokens."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Token = tuple[str, Any]  # kind (constant, field, chain, variable, word, mark) and value


class TemplateError(Exception):
    """A template cannot be read, or does not fit the object."""


def split(text: str) -> list[tuple[str, Any]]:
    """Return ("text", str) and ("action", tokens) parts, `{{-` and `-}}` applied."""
    parts: list[tuple[str, Any]] = []
    at, trim = 0, False
    while True:
        start = text.find("{{", at)
        literal = text[at:] if start < 0 else text[at:start]
        if trim:
            literal = literal.lstrip(" \t\r\n")
        if start < 0:
            parts.append(("text", literal))
            return parts
        start += 2
        if text[start : start + 1] == "-" and text[start + 1 : start + 2].isspace():
            literal = literal.rstrip(" \t\r\n")
            start += 1
        parts.append(("text", literal))
        tokens, at, trim = _tokens(text, start)
        if tokens is not None:
            if not tokens:
                raise TemplateError("an action is empty")
            parts.append(("action", tokens))


def _tokens(text: str, at: int) -> tuple[list[Token] | None, int, bool]:
    """Return the tokens of an action (None for a comment), where the text goes on, and whether it is trimmed."""
    stripped = text[at:].lstrip()
    if stripped.startswith("/*"):
        end = text.find("*/", at)
        close = text.find("}}", end)
        if end < 0 or close < 0:
            raise TemplateError("a comment is not closed")
        return None, close + 2, text[end + 2 : close].strip() == "-"
    tokens: list[Token] = []
    while at < len(text):
        if text.startswith("}}", at):
            return tokens, at + 2, False
        if text.startswith("-}}", at) and text[at - 1].isspace():
            return tokens, at + 3, True
        if text[at].isspace():
            at += 1
        else:
            token, at = _token(text, at)
            tokens.append(token)
    raise TemplateError("an action is not closed: }} is missing")


def _token(text: str, at: int) -> tuple[Token, int]:
    """Return the token that starts here and where it ends."""
    character = text[at]
    if character in '"`':
        string, end = _string(text, at)
        return ("constant", string), end
    if character.isdigit() or (character in "+-." and text[at + 1 : at + 2].isdigit()):
        value, end = _number(text, at)
        return ("constant", value), end
    if character == ".":
        fields, end = _fields(text, at)
        kind = "chain" if fields and text[at - 1] == ")" else "field"
        return (kind, fields), end if fields else at + 1
    if character == "$":
        name_end = _word_end(text, at + 1)
        fields, end = _fields(text, name_end)
        return ("variable", (text[at:name_end], fields)), end
    if character.isalpha() or character == "_":
        end = _word_end(text, at)
        return ("word", text[at:end]), end
    if text.startswith(":=", at):
        return ("mark", ":="), at + 2
    if character in "|(),=":
        return ("mark", character), at + 1
    raise TemplateError(f"unexpected character {character!r}")


def _word_end(text: str, at: int) -> int:
    while at < len(text) and (text[at].isalnum() or text[at] == "_"):
        at += 1
    return at


def _fields(text: str, at: int) -> tuple[list[str], int]:
    """Read `.State.Status`; a lone dot has no fields."""
    fields = []
    while text[at : at + 1] == "." and (text[at + 1 : at + 2].isalpha() or text[at + 1 : at + 2] == "_"):
        end = _word_end(text, at + 1)
        fields.append(text[at + 1 : end])
        at = end
    return fields, at


def _string(text: str, at: int) -> tuple[str, int]:
    quote, end = text[at], at + 1
    while end < len(text) and text[end] != quote:
        end += 2 if text[end] == "\\" and quote == '"' else 1
    if end >= len(text):
        raise TemplateError("a string is not closed")
    inner = text[at + 1 : end]
    if quote == "`" or "\\" not in inner:
        return inner, end + 1
    from rootless import jsontext

    try:
        value = jsontext.loads(f'"{inner}"'.replace("\t", "\\t").replace("\n", "\\n"))
    except ValueError:
        raise TemplateError(f"cannot read the string {text[at : end + 1]}") from None
    return str(value), end + 1


def _number(text: str, at: int) -> tuple[int | float, int]:
    end = at + 1
    while end < len(text) and (text[end].isalnum() or text[end] in "._"):
        end += 1
    word = text[at:end]
    try:
        return int(word, 0), end
    except ValueError:
        pass
    try:
        return float(word), end
    except ValueError:
        raise TemplateError(f"cannot read the number {word}") from None
