"""``copygym completion``: what a shell needs to complete commands, options and config groups."""

from __future__ import annotations

import importlib
import io
import re
import shlex
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

from copygym.experiments.options import command_parser

_EXAMPLES = """examples:
  source <(copygym completion bash)                                        # in this shell
  copygym completion bash > ~/.local/share/bash-completion/completions/copygym
  copygym completion zsh >> ~/.zshrc
  copygym completion fish > ~/.config/fish/completions/copygym.fish
"""
_OPTION = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
#: How argparse lists commands of a command.
_CHOICES = re.compile(r"^  {1,4}([a-z][a-z-]*)\s{2,}\S", re.MULTILINE)


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code.

    Raises:
        UserError: wrong arguments.
    """
    parser = command_parser(
        "copygym completion",
        "Prints a script with which a shell completes copygym's commands, their options and the "
        "config groups of `copygym run`. Make it anew after an update.",
        _EXAMPLES,
    )
    parser.add_argument("shell", choices=sorted(_SCRIPTS))
    options = parser.parse_args(arguments)
    sys.stdout.write(_SCRIPTS[options.shell](words()))
    return 0


def words() -> dict[str, list[str]]:
    """Return what may follow each command, read out of its own help and of the config's folders."""
    from copygym.experiments.commands.main import COMMANDS

    found = {}
    for name, module in COMMANDS.items():
        if name in ("run", "reproduce"):
            found[name] = [*_options(module), *_groups()]
        else:
            found[name] = _options(module)
    return found


def _options(module: str, *before: str) -> list[str]:
    """Return the options and sub-commands that a command's help names."""
    text = io.StringIO()
    # Argparse leaves by SystemExit once it has printed its help.
    with redirect_stdout(text), redirect_stderr(io.StringIO()), suppress(SystemExit):
        importlib.import_module(module).main([*before, "--help"])
    shown = text.getvalue().partition("\nexamples:")[0]
    inner = []
    if not before and (positional := shown.partition("positional arguments:")[2]):
        inner = _CHOICES.findall(positional.partition("\noptions:")[0])
    own = sorted(set(_OPTION.findall(shown)))
    for one in inner:
        own += [option for option in _options(module, one) if option not in own]
    return [*inner, *own]


def _groups() -> list[str]:
    """Return ``GROUP=CHOICE`` for each config group of ours that people choose from."""
    import copygym.conf

    root = Path(copygym.conf.__file__).parent
    return [
        f"{folder.name}={file.stem}"
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder.name not in _INSIDE and not folder.name.startswith("_")
        for file in sorted(folder.glob("*.yaml"))
    ]


#: Groups that other config files choose from.
_INSIDE = ("base", "hydra", "paper", "tiny")


def _bash(found: Mapping[str, list[str]]) -> str:
    cases = "\n".join(
        f"      {name}) words={shlex.quote(' '.join(some))} ;;" for name, some in found.items()
    )
    return f"""\
# Made by `copygym completion bash`.
_copygym() {{
  local line=${{COMP_LINE:0:COMP_POINT}} words
  local current=${{line##* }}
  if [ "$COMP_CWORD" -le 1 ]; then
    words={shlex.quote(" ".join(found))}
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  # Bash takes = for the beginning of a new word.
  if [[ "$current" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
    COMPREPLY=("${{COMPREPLY[@]#"${{current%%=*}}="}}")
  fi
  if [ "${{#COMPREPLY[@]}}" = 1 ] && [[ "${{COMPREPLY[0]}}" == *= ]]; then compopt -o nospace; fi
}}
complete -o default -F _copygym copygym
"""


def _zsh(found: Mapping[str, list[str]]) -> str:
    cases = "\n".join(
        f"    {name}) compadd -- {' '.join(map(shlex.quote, some))} ;;"
        for name, some in found.items()
    )
    return f"""\
# Made by `copygym completion zsh`.
_copygym() {{
  if (( CURRENT == 2 )); then
    compadd -- {" ".join(found)}
    return
  fi
  case "$words[2]" in
{cases}
  esac
  _files
}}
(( $+functions[compdef] )) || {{ autoload -Uz compinit && compinit; }}
compdef _copygym copygym
"""


def _fish(found: Mapping[str, list[str]]) -> str:
    lines = ["# Made by `copygym completion fish`."]
    names = " ".join(found)
    lines.append(f"complete -c copygym -n 'not __fish_seen_subcommand_from {names}' -a '{names}'")
    lines += [
        f"complete -c copygym -n '__fish_seen_subcommand_from {name}' -a {shlex.quote(' '.join(s))}"
        for name, s in found.items()
    ]
    return "\n".join(lines) + "\n"


_SCRIPTS: dict[str, Callable[[Mapping[str, list[str]]], str]] = {
    "bash": _bash,
    "fish": _fish,
    "zsh": _zsh,
}
