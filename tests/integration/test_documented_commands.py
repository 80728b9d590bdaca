"""Every command in the documentation is one that works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Sequence
from glob import glob
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from documented_commands import ROOT, Command, commands, missing_lines, pages
from documented_scenes import everything
from rasterio.rio.main import main_group as rio

from nirgeo.cli.main import main

COMMANDS = [command for page in pages() for command in commands(page)]

# What makes a command of hours one of seconds; everything else stays as the page has it.
SHORTER = {
    "train": [
        "--set",
        "steps=2",
        "--set",
        "batch=2",
        "--set",
        "validate_every=2",
        "--device",
        "cpu",
    ],
}
SLOW_PAGES = {"docs/cli.md", "docs/results.md", "docs/training.md", "docs/evaluation.md"}


def _click_options(group: click.Group, words: Sequence[str]) -> None:
    """Reads a command's arguments as click does before it runs it."""
    command: click.Command = group
    rest = list(words)
    context: click.Context | None = None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context)
        _, rest, _ = command.make_parser(context).parse_args(rest)
        assert rest[0] in command.list_commands(context), f"there is no command {rest[0]}"
        found = command.get_command(context, rest[0])
        assert found is not None
        command, rest = found, rest[1:]
    command.make_context(command.name, rest, parent=context)


def _nirgeo(words: Sequence[str]) -> None:
    _click_options(main, words)


def _rio(words: Sequence[str]) -> None:
    _click_options(rio, words)


def _pip(words: Sequence[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert words[0] == "install"
    for word in words[1:]:
        for extra in re.findall(r"\[(.*)\]", word):
            assert set(extra.split(",")) <= set(project["optional-dependencies"])
        if word.endswith(".txt"):
            assert (ROOT / word).is_file()
        if "==" in word:
            assert word in (ROOT / "Makefile").read_text(encoding="utf-8")


def _make(words: Sequence[str]) -> None:
    targets = re.findall(
        r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert words[0] in targets


def _qgis_process(words: Sequence[str]) -> None:
    plugin = ROOT / "qgis_plugin"
    sources = "".join(p.read_text(encoding="utf-8") for p in plugin.rglob("*.py"))
    names = [word.partition("=")[0] for word in words if re.match(r"[A-Z_]+=", word)]
    names += [word.removeprefix("nirgeo:") for word in words if word.startswith("nirgeo:")]
    for name in names:
        assert f'"{name}"' in sources, f"the plugin has no {name}"


def _anything(words: Sequence[str]) -> None:
    """A program of somebody else's, which the page says is needed."""


CHECKED: dict[str, Callable[[Sequence[str]], None]] = {
    "nirgeo": _nirgeo,
    "rio": _rio,
    "pip": _pip,
    "make": _make,
    "qgis_process": _qgis_process,
    "jupyter": _anything,
    "dask": _anything,
}
RUN = {"nirgeo", "rio", "python", "cmp", "for", "eval", "grep", "awk"}


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_options_and_names_exist(command: Command) -> None:
    assert command.program in CHECKED or command.program in RUN, "a program no test knows"
    if command.program not in RUN:
        assert not command.shown, "what is shown can't be compared with anything"
    if "{" not in command.text and not command.needs_shell and command.program in CHECKED:
        CHECKED[command.program](command.words[1:])


def test_what_can_not_be_run_is_little() -> None:
    """A remark must not become the way to be rid of a test."""
    left_out = [c for c in COMMANDS if c.program in ("nirgeo", "rio") and not c.runs_here]
    run = [c for c in COMMANDS if c.program in RUN and c.runs_here]
    assert len(left_out) <= len(run) / 5, [str(c) for c in left_out]


def _page_parameters() -> list[object]:
    found = []
    for page in pages():
        listed = [c for c in commands(page) if c.program in RUN and c.runs_here]
        if listed:
            marks = [pytest.mark.slow] if listed[0].page in SLOW_PAGES else []
            found.append(pytest.param(listed, id=listed[0].page, marks=marks))
    return found


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documented")
    everything(folder)
    return folder


@pytest.mark.parametrize("page", _page_parameters())
def test_commands_of_a_page_run_one_after_the_other(
    page: list[Command], scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(scenes, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(
        "PATH", os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    )
    for command in page:
        shell = command.needs_shell or command.program not in ("nirgeo", "rio")
        code, printed, told = (_in_a_shell if shell else _in_this_process)(command)
        assert code == 0, f"{command}: $ {command.text}\n{told}{printed}"
        assert not missing_lines(command.shown, printed), f"{command}\n{printed}"


def _in_this_process(command: Command) -> tuple[int, str, str]:
    words = [file for word in command.words for file in _matching(word)]
    group = main if words[0] == "nirgeo" else rio
    if "--budget" in words:
        place = words.index("--budget")
        words[place : place + 2] = ["--steps", "1"]
    if words[1] == "train":
        # What stands in for the run of an earlier page can't be gone on from.
        run = Path(words[words.index("--out") + 1])
        if not (run / "log.jsonl").exists():
            shutil.rmtree(run, ignore_errors=True)
    result = CliRunner().invoke(group, [*words[1:], *SHORTER.get(words[1], [])])
    return result.exit_code, result.stdout, f"{result.stderr}{result.exception!r}\n"


def _matching(word: str) -> list[str]:
    """Files that a pattern stands for, as a shell would have them; other words as they are."""
    return (sorted(glob(word)) if "*" in word else []) or [word]


def _in_a_shell(command: Command) -> tuple[int, str, str]:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    done = subprocess.run([bash, "-c", command.text], capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout, done.stderr
