"""``nirgeo completion``, and what the Tab key offers.

click completes commands, options and choices by itself. What a value may be, an option's metavar
says already (``NAME|FILE``, ``FOLDER``); here that is told to the shell as well. Nothing on this
path may import torch: a shell waits for the answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import click
from click.shell_completion import CompletionItem, get_completion_class

SHELLS = ("bash", "zsh", "fish")

_FILES = {"CSV", "FILE", "ITEM", "ITEMS", "MODEL", "PREDICTION", "RGB", "SCENE", "TRUTH"}
_FOLDERS = {"DIR", "FOLDER", "IN_FOLDER", "OUT_FOLDER", "RUN"}


class Completed(click.types.StringParamType):
    """Text of which the shell knows what it may be: some words, files, or folders."""

    def __init__(self, words: Callable[[], Iterable[str]], path: str | None) -> None:
        self._words = words
        self._path = path

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        items = [CompletionItem(word) for word in self._words() if word.startswith(incomplete)]
        if not items and self._path:
            items.append(CompletionItem(incomplete, type=self._path))
        return items


def offer_completions(group: click.Group) -> None:
    """Give every text parameter of a group's commands the type that its metavar names."""
    for command in _commands(group):
        for param in command.params:
            if type(param.type) is not click.types.StringParamType:
                continue
            kinds = set(re.findall(r"[A-Z_]+", param.metavar or str(param.name).upper()))
            words = _words(param.opts, kinds)
            path = "file" if kinds & _FILES else "dir" if kinds & _FOLDERS else None
            if words is not _none or path:
                param.type = Completed(words, path)


def _words(options: list[str], kinds: set[str]) -> Callable[[], Iterable[str]]:
    if "--device" in options:
        return _devices
    if "--preset" in options:
        return _presets
    return _models if "--model" in options or "MODEL" in kinds else _none


def _commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from _commands(command)
        else:
            yield command


def _none() -> Iterable[str]:
    return ()


def _devices() -> Iterable[str]:
    return ("auto", "cpu", "cuda", "mps")


def _models() -> Iterator[str]:
    from nirgeo.registry import AUTO, shipped_baselines, shipped_models

    yield AUTO
    yield from sorted({model.name for model in shipped_models()})
    yield from sorted({model.name for model in shipped_baselines()})


def _presets() -> Iterable[str]:
    from nirgeo.training.presets import PRESETS

    return PRESETS


@click.command("completion", short_help="Completion for a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion_command(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete nirgeo's commands, options and values.

    bash and zsh: put `eval "$(nirgeo completion bash)"` into ~/.bashrc, or the same with zsh into
    ~/.zshrc. fish: write the output to ~/.config/fish/completions/nirgeo.fish.
    """
    completion = get_completion_class(shell)
    assert completion is not None  # click has all three
    name = "nirgeo"
    click.echo(completion(ctx.find_root().command, {}, name, "_NIRGEO_COMPLETE").source())
