"""The manual pages say what the declarations say."""

from __future__ import annotations

from contrib import manpages


def test_pages_match_the_declarations() -> None:
    assert not manpages.differences(), "run: python3 contrib/manpages.py"


def test_every_verb_has_a_page_with_an_example() -> None:
    pages = manpages.pages()
    assert {f"{manpages.page_name(name)}.1.md" for name in manpages.visible_verbs()} < set(pages)
    assert not [name for name, text in pages.items() if name != "pyman.1.md" and "## EXAMPLES" not in text]
