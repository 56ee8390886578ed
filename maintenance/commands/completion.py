"""Shell completion: a script for bash, zsh or fish, made from the parser that reads the words.

The script holds its words, so that a press of Tab costs no start of Python and no look at a server. It
completes ``manage.py maintenance ...`` however that is called: as ``python manage.py``, ``./manage.py``,
``django-admin``. Everything else after ``python`` is left to the shell.
"""

import argparse
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote

SHELLS = ("bash", "zsh", "fish")
#: Django's own options, the same for each command, would hide ours.
_LEFT_OUT = {"--settings", "--pythonpath", "--traceback", "--skip-checks", "--version", "-v"}
_SAFE = re.compile(r"[\w.:@%+,/=-]+")

FILES = "<files>"  # the value is a path: the shell knows better


@dataclass(frozen=True, slots=True)
class Place:
    """Where the words so far have led: what may come next.

    ``options`` maps each option to what may follow it: words, :data:`FILES`, or ``None`` where it takes no
    value. ``values`` are the words of the next argument without a name.
    """

    path: tuple[str, ...]
    options: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    values: Sequence[str] = ()


def places(
    parser: argparse.ArgumentParser, words: Mapping[str, Sequence[str]], path: tuple[str, ...]
) -> Iterator[Place]:
    """Yield every place of a parser. ``words`` has what a ``metavar`` stands for."""
    options: dict[str, Sequence[str] | None] = {}
    values: list[str] = []
    children: list[tuple[str, argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            children += action.choices.items()
            values += action.choices
        elif not action.option_strings:
            values += _words_of(action, words)
        elif not _LEFT_OUT.intersection(action.option_strings):
            following = None if action.nargs == 0 else _words_of(action, words)
            options.update(dict.fromkeys(action.option_strings, following))
    yield Place(path, options, tuple(dict.fromkeys(values)))
    for name, child in children:
        yield from places(child, words, (*path, name))


def _words_of(action: argparse.Action, words: Mapping[str, Sequence[str]]) -> Sequence[str]:
    if action.choices is not None:
        return tuple(str(choice) for choice in action.choices)
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    # A name that a shell would have to quote is typed by hand.
    return tuple(word for word in words.get(metavar, ()) if word == FILES or _SAFE.fullmatch(word))


def script(shell: str, found: Iterable[Place]) -> str:
    """Return the script for one of :data:`SHELLS`. Raises ``KeyError`` for another one."""
    writers = {"bash": _bash, "zsh": _zsh, "fish": _fish}
    return writers[shell](list(found))


_BASH = """\
# Completion of "manage.py maintenance". For this shell: source <(manage.py maintenance completion bash)
# For all: write it to ~/.local/share/bash-completion/completions/manage.py, and source it in ~/.bashrc.
_maintenance_completion() {
    # For bash a colon or an equals sign ends a word. The whole of it decides, its end is completed.
    local current="${COMP_LINE:0:$COMP_POINT}" path="" option="" word index begun="" before
    current="${current##*[[:space:]]}"
    current="${current##*=}"
    before="${current%"${current##*:}"}"
    for ((index = 1; index < COMP_CWORD; index++)); do
        word="${COMP_WORDS[index]}"
        if [[ -z "$begun" ]]; then
            [[ "$word" == maintenance ]] && begun=1 && path=maintenance
            continue
        fi
        [[ "$word" == [=:] ]] && continue
        case "$path $word" in
            DESCENTS) path="$path $word" ;;
        esac
        option=""
        case "$path $word" in
            TAKERS) option="$word" ;;
        esac
    done
    [[ -z "$begun" ]] && return 0
    local words=""
    case "$path $option" in
VALUES
    esac
    COMPREPLY=($(compgen -W "$words" -- "$current"))
    [[ -n "$before" && "$COMP_WORDBREAKS" == *:* ]] && COMPREPLY=("${COMPREPLY[@]#"$before"}")
    return 0
}
complete -o bashdefault -o default -F _maintenance_completion manage.py ./manage.py django-admin python python3
"""


def _bash(found: Sequence[Place]) -> str:
    descents = [f'"{" ".join(place.path)}"' for place in found if len(place.path) > 1]
    takers, cases = list[str](), list[str]()
    for place in found:
        path = " ".join(place.path)
        for option, following in place.options.items():
            if following is None:
                continue
            takers.append(f'"{path} {option}"')
            if FILES in following:
                cases.append(f'        "{path} {option}") return 0 ;;')
            else:
                cases.append(f'        "{path} {option}") words={quote(" ".join(following))} ;;')
        everything = " ".join((*place.values, *place.options))
        cases.append(f'        "{path} ") words={quote(everything)} ;;')
    text = _BASH.replace("DESCENTS", "|".join(descents))
    return text.replace("TAKERS", "|".join(takers)).replace("VALUES", "\n".join(cases))


def _zsh(found: Sequence[Place]) -> str:
    """Return bash's function under zsh's own emulation of it (zshcompsys, "bashcompinit")."""
    return (
        "autoload -U +X compinit && compinit -u\n"
        "autoload -U +X bashcompinit && bashcompinit\n" + _bash(found).replace("bash)", "zsh)", 1)
    )


_FISH = """\
# Completion of "manage.py maintenance": manage.py maintenance completion fish | source
# For all shells: write it to ~/.config/fish/completions/manage.py.fish
function __maintenance_at
    # Whether the words so far lead to this place, given as words.
    set -l words (commandline -opc)
    set -l at (contains -i -- maintenance $words)
    or return 1
    set -l path maintenance
    for word in $words[(math $at + 1)..-1]
        if contains -- "$path $word" DESCENTS
            set path "$path $word"
        end
    end
    test "$path" = "$argv"
end
"""


def _fish(found: Sequence[Place]) -> str:
    descents = " ".join(quote(" ".join(place.path)) for place in found if len(place.path) > 1)
    lines = [_FISH.replace("DESCENTS", descents)]
    for command in ("manage.py", "python", "python3", "django-admin"):
        for place in found:
            head = f"complete -c {command} -n {quote('__maintenance_at ' + ' '.join(place.path))}"
            if place.values:
                lines.append(f"{head} -f -a {quote(' '.join(place.values))}")
            for option, following in place.options.items():
                name = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
                if following is None:
                    lines.append(f"{head} -f {name}")
                elif FILES in following:
                    lines.append(f"{head} -r -F {name}")
                else:
                    lines.append(f"{head} -x {name} -a {quote(' '.join(following))}")
    return "\n".join(lines) + "\n"
