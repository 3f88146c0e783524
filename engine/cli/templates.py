"""Go templates, as far as `--format` of Podman and Docker uses them.

Text with `{{ actions }}`: fields (.State.Status), variables, pipelines, literals, parentheses; if, else, range, with,
break, continue; the functions of text/template and those that Podman adds (json, join, split, lower, upper, title,
truncate, pad, table). A template is compiled to closures: an expression is a function of the scope that returns a
value, a statement one that appends to the scope's output.
"""

from __future__ import annotations

from engine.cli import output
from engine.cli.output import Map, Row
from engine.cli.template_functions import FUNCTIONS, shown, truth
from engine.cli.template_tokens import TemplateError, split
from engine.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from engine.cli.template_tokens import Token

    Expression = Callable[["_Scope"], Any]
    Statement = Callable[["_Scope"], None]

_END = ("end", "else")


class Heading(str):
    """Stands for a value when the heading of a `table` template is made."""

    __slots__ = ()


class Template:
    """A compiled template. Raises UsageError for text that is none."""

    def __init__(self, text: str) -> None:
        try:
            self._statement = _Compiler(text).template()
        except TemplateError as error:
            raise UsageError(f"cannot understand --format: {error}") from None

    def render(self, data: object) -> str:
        """Return the text for one object. Raises UsageError, for an unknown field with the closest one."""
        scope = _Scope(data, {"$": data}, [])
        try:
            self._statement(scope)
        except TemplateError as error:
            raise UsageError(f"cannot apply --format: {error}") from None
        return "".join(scope.out)


def render_rows(format: str, rows: Sequence[Row], headings: dict[str, str], *, noheading: bool = False) -> str:
    """Return a line per row; with `table TEMPLATE` aligned, under headings."""
    source = _unescape(format)
    is_table = source.startswith(("table ", "table\t"))
    if is_table:
        source = source[6:].lstrip()
    if _ranges_itself(source):
        return _terminated(output.printable_lines(Template(source).render(list(rows))))
    template = Template(source)
    lines = [output.printable_lines(template.render(row)) for row in rows]
    if not is_table:
        return "".join(_terminated(line) for line in lines)
    if not noheading:
        lines.insert(0, template.render(_HeadingRow(headings, rows)))
    return output.align(line.rstrip("\n").split("\t") for line in lines)


def render_objects(format: str, objects: Sequence[object]) -> Iterator[str]:
    """Yield the text of each object, each ended by a line end."""
    template = Template(_unescape(format))
    for value in objects:
        yield _terminated(output.printable_lines(template.render(value)))


def _unescape(text: str) -> str:
    """Shells pass \\t and \\n on as they are."""
    return text.replace("\\t", "\t").replace("\\n", "\n")


def _terminated(text: str) -> str:
    return text if text.endswith("\n") else f"{text}\n"


def _ranges_itself(source: str) -> bool:
    """Tell whether the template walks over all rows by itself."""
    return "".join(source.split()).startswith(("{{range.}}", "{{-range.}}", "{{range.-}}"))


class _HeadingRow(dict[str, "Any"]):
    def __init__(self, headings: dict[str, str], rows: Sequence[Row]) -> None:
        known = {name: _spaced(name) for row in rows[:1] for name in row}
        super().__init__({name: Heading(text) for name, text in {**known, **headings}.items()})


def _spaced(name: str) -> str:
    """CreatedAt -> CREATED AT."""
    parts = [f" {c}" if c.isupper() and i and not name[i - 1].isupper() else c for i, c in enumerate(name)]
    return "".join(parts).upper()


class _Scope:
    __slots__ = ("dot", "out", "variables")

    def __init__(self, dot: object, variables: dict[str, Any], out: list[str]) -> None:
        self.dot = dot
        self.variables = variables
        self.out = out

    def inner(self, dot: object) -> _Scope:
        """A scope of its own: what is declared inside is forgotten after it."""
        return _Scope(dot, dict(self.variables), self.out)


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _Compiler:
    def __init__(self, text: str) -> None:
        self.parts = split(text)  # ("text", str) and ("action", tokens)
        self.index = 0
        self.tokens: list[Token] = []
        self.at = 0

    def template(self) -> Statement:
        body, word = self.block(())
        if word:
            raise TemplateError(f"unexpected {{{{{word}}}}}")
        return body

    def block(self, stops: tuple[str, ...]) -> tuple[Statement, str]:
        """Compile up to one of the stop words, whose action stays the current one; returns the body and that word."""
        statements: list[Statement] = []
        while self.index < len(self.parts):
            kind, value = self.parts[self.index]
            self.index += 1
            if kind == "text":
                statements.append(_literal_text(value))
                continue
            self.tokens, self.at = value, 0
            word = value[0][1] if value and value[0][0] == "word" else ""
            if word in _END:
                if word not in stops:
                    raise TemplateError(f"unexpected {{{{{word}}}}}")
                self.at = 1
                return _sequence(statements), word
            statements.append(self.action(word))
        if stops:
            raise TemplateError("{{end}} is missing")
        return _sequence(statements), ""

    def action(self, word: str) -> Statement:
        if word in ("if", "with", "range"):
            self.at = 1
            return self.range() if word == "range" else self.condition(with_dot=word == "with")
        if word in ("break", "continue"):
            return _raise(_Break if word == "break" else _Continue)
        if word in ("define", "template", "block"):
            raise TemplateError(f"{word} is not supported")
        declares = bool(self.tokens) and self.tokens[0][0] == "variable" and self.peek(1) in (":=", "=")
        expression = self.pipeline(declaration=True)
        self.finished()
        if declares:
            return lambda scope: _discard(expression(scope))
        return lambda scope: scope.out.append(shown(expression(scope)))

    def condition(self, *, with_dot: bool) -> Statement:
        test = self.pipeline(declaration=True)
        self.finished()
        body, word = self.block(_END)
        otherwise: Statement = _sequence([])
        if word == "else":
            nested = self.at < len(self.tokens) and self.tokens[self.at] in (("word", "if"), ("word", "with"))
            if nested:
                kind = self.tokens[self.at][1]
                self.at += 1
                otherwise = self.condition(with_dot=kind == "with")
            else:
                self.finished()
                otherwise, _ = self.block(("end",))

        def run(scope: _Scope) -> None:
            inner = scope.inner(scope.dot)
            value = test(inner)
            if truth(value):
                if with_dot:
                    inner.dot = value
                body(inner)
            else:
                otherwise(inner)

        return run

    def range(self) -> Statement:
        names = self.range_variables()
        source = self.pipeline()
        self.finished()
        body, word = self.block(_END)
        otherwise: Statement = _sequence([])
        if word == "else":
            self.finished()
            otherwise, _ = self.block(("end",))

        def run(scope: _Scope) -> None:
            pairs = _pairs(source(scope))
            if not pairs:
                otherwise(scope.inner(scope.dot))
            for key, value in pairs:
                inner = scope.inner(value)
                if names:
                    inner.variables[names[-1]] = value
                if len(names) == 2:
                    inner.variables[names[0]] = key
                try:
                    body(inner)
                except _Continue:
                    continue
                except _Break:
                    break

        return run

    def range_variables(self) -> list[str]:
        """Read `$value :=` or `$key, $value :=`, if it is there."""
        names: list[str] = []
        start = self.at
        while self.at < len(self.tokens) and self.tokens[self.at][0] == "variable" and not self.tokens[self.at][1][1]:
            names.append(self.tokens[self.at][1][0])
            self.at += 1
            if self.peek() != ",":
                break
            self.at += 1
        if self.peek() == ":=" and 1 <= len(names) <= 2:
            self.at += 1
            return names
        self.at = start
        return []

    def pipeline(self, *, declaration: bool = False) -> Expression:
        target = ""
        if declaration and self.tokens[self.at : self.at + 1] and self.tokens[self.at][0] == "variable":
            name, fields = self.tokens[self.at][1]
            if self.peek(1) in (":=", "=") and not fields:
                target = name
                self.at += 2
        value = self.command(None)
        while self.peek() == "|":
            self.at += 1
            value = self.command(value)
        if not target:
            return value

        def assign(scope: _Scope) -> object:
            scope.variables[target] = result = value(scope)
            return result

        return assign

    def command(self, piped: Expression | None) -> Expression:
        """Compile `function argument…` or one operand; the piped value becomes the last argument."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "word":
            name = self.tokens[self.at][1]
            self.at += 1
            if name in ("true", "false", "nil"):
                constant = {"true": True, "false": False, "nil": None}[name]
                return lambda scope: constant
            if name not in FUNCTIONS:
                raise TemplateError(f"there is no function {name}{_similar(name, FUNCTIONS)}")
            arguments = self.operands()
            if piped is not None:
                arguments.append(piped)
            return _call(name, arguments)
        operands = self.operands()
        if len(operands) != 1 or piped is not None:
            raise TemplateError("a value is expected" if not operands else "a value is not a function")
        return operands[0]

    def operands(self) -> list[Expression]:
        found: list[Expression] = []
        while self.at < len(self.tokens):
            kind, value = self.tokens[self.at]
            if kind == "mark" and value != "(":
                break
            self.at += 1
            found.append(self.operand(kind, value))
        return found

    def operand(self, kind: str, value: Any) -> Expression:
        if kind == "constant":
            return lambda scope: value
        if kind == "field":
            return lambda scope: _walk(scope.dot, value)
        if kind == "variable":
            name, fields = value
            return lambda scope: _walk(_variable(scope, name), fields)
        if kind == "word":
            self.at -= 1
            return self.word_operand()
        inner = self.pipeline()
        if self.peek() != ")":
            raise TemplateError("a closing parenthesis is missing")
        self.at += 1
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "chain":
            fields = self.tokens[self.at][1]
            self.at += 1
            return lambda scope: _walk(inner(scope), fields)
        return inner

    def word_operand(self) -> Expression:
        """A function without arguments, or true, false, nil, as an argument."""
        name = self.tokens[self.at][1]
        self.at += 1
        if name in ("true", "false", "nil"):
            constant = {"true": True, "false": False, "nil": None}[name]
            return lambda scope: constant
        if name not in FUNCTIONS:
            raise TemplateError(f"there is no function {name}{_similar(name, FUNCTIONS)}")
        return _call(name, [])

    def peek(self, ahead: int = 0) -> str:
        """Return the mark that comes, or nothing."""
        at = self.at + ahead
        return self.tokens[at][1] if at < len(self.tokens) and self.tokens[at][0] == "mark" else ""

    def finished(self) -> None:
        if self.at < len(self.tokens):
            raise TemplateError(f"unexpected {self.tokens[self.at][1]!r}")


def _literal_text(text: str) -> Statement:
    return lambda scope: scope.out.append(text)


def _discard(value: object) -> None:
    del value


def _raise(error: type[Exception]) -> Statement:
    def run(scope: _Scope) -> None:
        raise error

    return run


def _sequence(statements: list[Statement]) -> Statement:
    def run(scope: _Scope) -> None:
        for statement in statements:
            statement(scope)

    return run


def _call(name: str, arguments: list[Expression]) -> Expression:
    function, fewest, most = FUNCTIONS[name]
    if len(arguments) < fewest or (most >= 0 and len(arguments) > most):
        raise TemplateError(f"wrong number of arguments for {name}")
    if name in ("and", "or"):  # the rest is not evaluated once the answer is known

        def short(scope: _Scope) -> object:
            value: object = None
            for argument in arguments:
                value = argument(scope)
                if truth(value) == (name == "or"):
                    break
            return value

        return short
    return lambda scope: function(*(argument(scope) for argument in arguments))


def _variable(scope: _Scope, name: str) -> object:
    if name not in scope.variables:
        raise TemplateError(f"undefined variable {name}")
    return scope.variables[name]


def _walk(value: Any, fields: list[str]) -> Any:
    """Return the field of the field of the value."""
    for field in fields:
        if isinstance(value, Heading):
            value = Heading(_spaced(field))
        elif isinstance(value, dict):
            value = value[field] if field in value else _other_case(value, field)
        elif value is None:
            raise TemplateError(f"nil has no field {field}")
        else:
            raise TemplateError(f"{shown(value)[:40]!r} has no field {field}")
    return value


def _other_case(value: dict[str, Any], field: str) -> Any:
    """Podman's structs and their JSON differ in case (ID and Id)."""
    if isinstance(value, Map):
        return None
    for name in value:
        if name.lower() == field.lower():
            return value[name]
    raise TemplateError(f"there is no field {field}{_similar(field, value)}")


def _similar(name: str, known: Any) -> str:
    import difflib  # only to answer a mistake

    close = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f", did you mean {close[0]}?" if close else f", choose from {', '.join(sorted(known))}"


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return sorted(value.items()) if isinstance(value, Map) else list(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, int) and not isinstance(value, bool):
        return [(n, n) for n in range(value)]
    if value is None:
        return []
    raise TemplateError(f"range cannot walk over {shown(value)[:40]!r}")
