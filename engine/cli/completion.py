"""Completion: the scripts for the shells, and the answers to what they ask. Answers import neither typer nor rich."""

from __future__ import annotations

import os
import sys

from engine.cli import parse, table
from engine.cli.main import CommandLine, GlobalOptions, open_context
from engine.cli.output import emit
from engine.cli.parse import Option, Options, argument, declared, rest, verb
from engine.errors import PymanError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.context import Context

FILES = ":files"
DIRECTORIES = ":directories"
NOTHING = ":nothing"

# Each shell calls `pyman __complete -- WORD…`, whose last word is the one being typed. The answer: a line per candidate
# (name, tab, description), then a line that tells what else fits: files, directories or nothing.
_BASH = r"""# bash completion for pyman: pyman completion bash >~/.local/share/bash-completion/completions/pyman
_pyman() {
    local line fits=:nothing words=("${COMP_WORDS[@]:1:COMP_CWORD}") current=${COMP_WORDS[COMP_CWORD]}
    # Bash splits at = and :, pyman wants whole words.
    local before=${COMP_LINE:0:COMP_POINT}
    read -ra words <<<"$before"
    [[ $before == *[[:space:]] ]] && words+=("")
    local whole=${words[-1]}
    COMPREPLY=()
    while IFS= read -r line; do
        case $line in
            :files | :directories | :nothing) fits=$line ;;
            *) COMPREPLY+=("${line%%$'\t'*}") ;;
        esac
    done < <("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null)
    if [[ $fits == :files ]]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
        compopt -o filenames
    elif [[ $fits == :directories ]]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -d -- "$current")
        compopt -o filenames
    else
        local cut=${whole%"$current"} i
        for i in "${!COMPREPLY[@]}"; do
            COMPREPLY[i]=${COMPREPLY[i]#"$cut"}
        done
        [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    fi
}
complete -F _pyman pyman
"""
_ZSH = r"""#compdef pyman
# zsh completion for pyman: pyman completion zsh >"${fpath[1]}/_pyman"
_pyman() {
    local line fits=:nothing
    local -a names
    for line in "${(@f)$(${words[1]} __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            :files | :directories | :nothing) fits=$line ;;
            ?*) names+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
        esac
    done
    (( ${#names} )) && _describe pyman names
    case $fits in
        :files) _files ;;
        :directories) _files -/ ;;
    esac
}
if [[ $funcstack[1] == _pyman ]]; then
    _pyman "$@"
else
    compdef _pyman pyman
fi
"""
_FISH = r"""# fish completion for pyman: pyman completion fish >~/.config/fish/completions/pyman.fish
function __pyman_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in ($words[1] __complete -- $words[2..-1] 2>/dev/null)
        switch $line
            case :nothing
            case :files
                __fish_complete_path (commandline -ct)
            case :directories
                __fish_complete_directories (commandline -ct) ''
            case '*'
                echo $line
        end
    end
end
complete -c pyman -f -a '(__pyman_complete)'
"""
SCRIPTS = {"bash": _BASH, "fish": _FISH, "zsh": _ZSH}


class CompletionOptions(Options):
    shell: str = argument("SHELL", help="bash, zsh or fish")


@verb(
    CompletionOptions,
    examples=(
        ("complete in bash", "pyman completion bash >~/.local/share/bash-completion/completions/pyman"),
        ("complete in fish", "pyman completion fish >~/.config/fish/completions/pyman.fish"),
    ),
)
def completion(options: CompletionOptions, context: Context) -> int:
    """Print the completion script of a shell: commands, options, names of containers, images and volumes."""
    script = SCRIPTS.get(options.shell)
    if script is None:
        raise UsageError(f'there is no completion for "{options.shell}": choose from {", ".join(SCRIPTS)}')
    emit(script)
    return 0


class CompleteOptions(Options):
    words: list[str] = rest("WORD")


@verb(CompleteOptions)
def complete(options: CompleteOptions, context: Context) -> int:
    """Answer a shell: what may the last word be?"""
    found, also = candidates(options.words or [""], context)
    partial = (options.words or [""])[-1]
    lines = [f"{name}\t{text}" for name, text in found if name.startswith(partial)]
    emit("".join(f"{line}\n" for line in [*lines, also]))
    return 0


def candidates(words: list[str], context: Context) -> tuple[list[tuple[str, str]], str]:
    """Return (name, description) pairs that may stand for the last word, and what else fits."""
    partial = words[-1]
    done = words[:-1]
    start = _skip_options(done, [*declared(GlobalOptions), *declared(CommandLine)])
    if start is None:
        return _values(_pending(done, declared(GlobalOptions)), "", context)
    context = _same_store(done[:start], context)
    name = done[start] if start < len(done) else ""
    if not name:
        own = declared(GlobalOptions) + declared(CommandLine)
        return (_option_names(own) if partial.startswith("-") else _verbs("")), NOTHING
    rest_words = done[start + 1 :]
    if name in table.GROUPS:
        if not rest_words:
            return _verbs(f"{name} "), NOTHING
        name = f"{name} {rest_words.pop(0)}"
    name = table.ALIASES.get(name, name)
    if name not in table.VERBS:
        return [], NOTHING
    module, function, _ = table.VERBS[name]
    __import__(module)
    return _for_verb(getattr(sys.modules[module], function), rest_words, partial, context)


def _same_store(global_words: list[str], context: Context) -> Context:
    """Return the context that these global options choose: `pyman --root DIR rm <tab>`."""
    given = GlobalOptions()
    try:
        parse.parse(CommandLine, global_words, given)
    except (PymanError, parse.HelpWanted):
        return context
    return open_context(given) if given.root else context


def _for_verb(found: parse.Verb, done: list[str], partial: str, context: Context) -> tuple[list[tuple[str, str]], str]:
    options = declared(found.options)
    positionals = [o for o in options if o.kind in parse.POSITIONAL]
    count = _positionals_given(done, options, stop=bool(positionals) and positionals[-1].kind == parse.REST)
    if count is None:
        return _values(_pending(done, options), "", context)
    if count and positionals and positionals[-1].kind == parse.REST and count >= len(positionals) - 1:
        return [], FILES
    if partial.startswith("-"):
        name, equals, _ = partial.partition("=")
        if equals:
            return _values(_by_name(options).get(name), f"{name}=", context)
        return _option_names(options), NOTHING
    if not positionals:
        return [], NOTHING
    return _values(positionals[min(count, len(positionals) - 1)], "", context)


def _skip_options(words: list[str], options: list[Option]) -> int | None:
    """Return the index of the first word that is no option; None if the last option still waits for its value."""
    by_name = _by_name(options)
    index = 0
    while index < len(words):
        word = words[index]
        if not word.startswith("-") or word == "-":
            return index
        index += 2 if _takes_next(word, by_name) else 1
    return index if index == len(words) else None


def _positionals_given(words: list[str], options: list[Option], *, stop: bool) -> int | None:
    """Return how many positionals there are; None if the last option still waits for its value."""
    by_name = _by_name(options)
    count = index = 0
    while index < len(words):
        word = words[index]
        if not word.startswith("-") or word == "-":
            count += 1
            if stop:
                return count + len(words) - index - 1
            index += 1
        elif word == "--":
            return count + len(words) - index - 1
        else:
            index += 2 if _takes_next(word, by_name) else 1
    return count if index == len(words) else None


def _takes_next(word: str, by_name: dict[str, Option]) -> bool:
    """Tell whether the value of this option is the next word."""
    if word.startswith("--"):
        option = by_name.get(word)
        return option is not None and option.kind not in (parse.FLAG, parse.REFUSED) and option.optional is None
    for position in range(1, len(word)):
        option = by_name.get(f"-{word[position]}")
        if option is not None and option.kind != parse.FLAG and option.optional is None:
            return position == len(word) - 1
    return False


def _pending(words: list[str], options: list[Option]) -> Option | None:
    """Return the option that waits for its value."""
    word = words[-1]
    return _by_name(options).get(word if word.startswith("--") else f"-{word[-1:]}")


def _by_name(options: list[Option]) -> dict[str, Option]:
    return {name: option for option in options for name in option.names}


def _verbs(prefix: str) -> list[tuple[str, str]]:
    found = {name: entry[2] for name, entry in table.VERBS.items()}
    if prefix:
        found |= {name: table.VERBS[verb_name][2] for name, verb_name in table.ALIASES.items()}
    else:
        found |= table.GROUPS
    words = ((name.removeprefix(prefix), text) for name, text in sorted(found.items()) if name.startswith(prefix))
    return [(word, text) for word, text in words if " " not in word and not word.startswith("_")]


def _option_names(options: list[Option]) -> list[tuple[str, str]]:
    names = [(name, o.help) for o in options if o.kind != parse.REFUSED for name in o.names if name.startswith("--")]
    return sorted([*names, ("--help", "show help")])


def _values(option: Option | None, prefix: str, context: Context) -> tuple[list[tuple[str, str]], str]:
    if option is None:
        return [], NOTHING
    if option.choices:
        return [(prefix + choice, "") for choice in option.choices], NOTHING
    if option.complete == "files":
        return [], FILES
    if option.complete == "directories":
        return [], DIRECTORIES
    if option.complete in ("volumes", "sources"):
        found = [(prefix + name, "volume") for name in sorted(os.listdir(context.store.volumes_dir)) if "~" not in name]
        return found, FILES if option.complete == "sources" else NOTHING
    if option.complete == "images":
        return [(prefix + name, "image") for name in _image_names(context)], NOTHING
    if option.complete in ("containers", "running"):
        from engine.containers import lookup

        containers = lookup.all_containers(context.store)
        if option.complete == "running":
            containers = [container for container in containers if container.is_running]
        return [(prefix + c.name, c.config.image_name or c.config.rootfs) for c in containers], NOTHING
    return [], NOTHING


def _image_names(context: Context) -> list[str]:
    """Return the references, and their short forms as people type them."""
    from storage import names

    found = []
    for name, _ in names.all_names(context.store.image_names_dir):
        short = name.removeprefix("localhost/").removeprefix("docker.io/library/")
        found += [short, name] if short != name else [name]
    return sorted(found)
