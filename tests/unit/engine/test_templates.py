"""Go templates: what Podman's and Docker's users write for --format."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.cli.output import Map, Row, Time
from engine.cli.templates import Template
from engine.errors import UsageError

DATA: dict[str, Any] = {
    "Id": "abc123",
    "State": {"Status": "running", "Pid": 12, "Health": None, "OOMKilled": False},
    "Names": ["web", "www"],
    "Labels": Map(x="1", a="2"),
    "Created": Time(1700000000 * 10**9),
    "Cpus": 1.5,
    "Mounts": [{"Type": "bind", "Source": "/srv"}, {"Type": "volume", "Source": "data"}],
    "Ports": Map({"80/tcp": [{"HostIp": "", "HostPort": "8080"}], "81/tcp": None}),
    "Empty": [],
    "Quote": 'a "b"',
}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()


def render(text: str) -> str:
    return Template(text).render(DATA)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("{{.Id}}", "abc123"),
        ("{{ .ID }}!", "abc123!"),  # Podman's name of the field
        ("{{.State.Status}}/{{.State.Pid}}", "running/12"),
        ("{{.State.Health}}", "<no value>"),
        ("{{.State.OOMKilled}} {{.Cpus}}", "false 1.5"),
        ("{{.Names}} {{.Labels}} {{.State}}", "[web www] map[a:2 x:1] {running 12 <no value> false}"),
        ("{{.Labels.x}} {{.Labels.none}}", "1 <no value>"),
        ('{{index .Labels "x"}} {{index .Names 1}}', "1 www"),
        ("{{.Created}}", "2023-11-14 22:13:20 +0000 UTC"),
        ("{{json .Created}}", '"2023-11-14T22:13:20Z"'),
        ("{{json .State}}", '{"Status":"running","Pid":12,"Health":null,"OOMKilled":false}'),
        ("{{json .Names}}", '["web","www"]'),
        ("{{.Names | json}}", '["web","www"]'),
        ("{{range .Names}}[{{.}}]{{end}}", "[web][www]"),
        ("{{range $i, $n := .Names}}{{if $i}}, {{end}}{{$i}}={{$n}}{{end}}", "0=web, 1=www"),
        ("{{range $n := .Names}}{{$n}}{{$.Id}} {{end}}", "webabc123 wwwabc123 "),
        ("{{range .Empty}}x{{else}}none{{end}}", "none"),
        ("{{range $p, $c := .Ports}}{{$p}} {{(index $c 0).HostPort}}{{break}}{{end}}", "80/tcp 8080"),
        ('{{(index (index .Ports "80/tcp") 0).HostPort}}', "8080"),
        ('{{range .Mounts}}{{if eq .Type "bind"}}{{continue}}{{end}}{{.Source}}{{end}}', "data"),
        ("{{range .Mounts}}{{println .Source}}{{end}}", "/srv\ndata\n"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ('{{if eq .State.Status "running"}}up{{else}}down{{end}}', "up"),
        ('{{if eq .State.Status "a" "running"}}up{{end}}', "up"),
        ('{{if ne .Id "x"}}a{{end}}{{if not .Empty}}b{{end}}', "ab"),
        ("{{if .Empty}}a{{else if .Names}}b{{else}}c{{end}}", "b"),
        ("{{if .State.Health}}a{{else if .Empty}}b{{else}}c{{end}}", "c"),
        ("{{if and (gt .State.Pid 10) (lt .State.Pid 13) (ge .Cpus 1.5) (le 1 1)}}in{{end}}", "in"),
        ('{{or .Empty "none"}} {{and .Names .Empty}}', "none []"),
        ("{{with .State}}{{.Pid}}{{end}}{{with .Empty}}x{{else}}y{{end}}", "12y"),
        ("{{with $s := .State}}{{$s.Status}}{{end}}", "running"),
        ("{{$a := .Id}}{{$a}}{{$a = .Cpus}}{{$a}}", "abc1231.5"),
        ('{{join .Names ","}} {{upper .Id}} {{lower "AB"}} {{title "ab"}}', "web,www ABC123 ab Ab"),
        ('{{split "a:b" ":"}} {{len .Names}} {{len .Id}}', "[a b] 2 6"),
        ("{{truncate .Id 3}}|{{pad .Id 1 2}}|{{slice .Id 1 3}}", "abc| abc123  |bc"),
        (
            '{{printf "%-8s|%4d|%q|%v|%t|%.2f|%x%%" .Id .State.Pid .Id .Names true .Cpus 255}}',
            'abc123  |  12|"abc123"|[web www]|true|1.50|ff%',
        ),
        ('{{print "a" 1 2 "b"}}', "a1 2b"),
        ('{{"a\\tb"}}{{`raw\\t`}}', "a\tbraw\\t"),
        ("a  {{- .Id -}}  b", "aabc123b"),
        ("{{/* nothing */}}a{{- /* trims */ -}} b", "ab"),
        ("{{(.State).Status}}", "running"),
        ("{{.Quote}}{{json .Quote}}", 'a "b""a \\"b\\""'),
        ("{{true}} {{1}} {{-1}} {{0x10}} {{nil}}", "true 1 -1 16 <no value>"),
        ("{{ if eq 1 1 }}{{ .Id }}{{ end }}", "abc123"),
        ("}} {", "}} {"),
    ],
)
def test_templates(template: str, text: str) -> None:
    assert render(template) == text


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{.Idd}}", "there is no field Idd, did you mean Id?"),
        ("{{.State.Stat}}", "there is no field Stat, did you mean Status?"),
        ("{{.State.Health.Status}}", "nil has no field Status"),
        ("{{.Id.More}}", "'abc123' has no field More"),
        ("{{uper .Id}}", "there is no function uper, did you mean upper?"),
        ("{{", "an action is not closed"),
        ("{{.Id", "an action is not closed"),
        ("{{}}", "an action is empty"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{if .Id}}x", "{{end}} is missing"),
        ("{{if}}{{end}}", "a value is expected"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{.Id .Id}}", "a value is not a function"),
        ("{{len}}", "wrong number of arguments for len"),
        ("{{len .State.Pid}}", "'12' has no length"),
        ("{{eq .Id 1}}", "cannot compare 'abc123' with '1'"),
        ("{{index .Names 2}}", "index 2 is out of range"),
        ('{{printf "%d" .Id}}', "printf cannot show 'abc123' with %d"),
        ('{{printf "%s"}}', "printf has no value for %s"),
        ("{{range .Id}}{{end}}", "range cannot walk over 'abc123'"),
        ('{{"abc}}', "a string is not closed"),
        ("{{(.Id}}", "a closing parenthesis is missing"),
        ("{{.Id)}}", "unexpected ')'"),
        ("{{$x}}", "undefined variable $x"),
        ('{{define "x"}}{{end}}', "define is not supported"),
        ("{{/* open }}", "a comment is not closed"),
        ("{{.Id ; }}", "unexpected character ';'"),
    ],
)
def test_mistakes(template: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        render(template)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_variables_end_with_their_block() -> None:
    with pytest.raises(UsageError, match="undefined variable"):
        render("{{if .Id}}{{$x := 1}}{{end}}{{$x}}")


def test_a_row_is_shown_by_its_raw_object() -> None:
    assert Template("{{json .}}").render(Row({"ID": "1"}, {"Id": "11"})) == '{"Id":"11"}'


_PIECES = [
    "{{",
    "}}",
    "-",
    ".Id",
    ".",
    "$x",
    ":=",
    "if ",
    "end",
    "range ",
    "else",
    '"',
    "(",
    ")",
    "|",
    "json ",
    "text",
    " ",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=12).map("".join) | st.text(max_size=30))
def test_any_text_is_rendered_or_refused_in_one_line(text: str) -> None:
    try:
        Template(text).render(DATA)
    except UsageError as error:
        assert str(error).startswith("cannot ")
