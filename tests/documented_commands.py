"""The commands in the documentation, as a reader would type them.

A ``console`` block holds commands behind ``$`` (a backslash continues one), and below a command
what it prints: lines that must be in its output, in this order, with ``…`` for anything. A command
whose remark begins with *needs* or *takes* can't be run by a test; the reader sees why.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_BLOCK = re.compile(r"^( *)```console[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_NOT_HERE = re.compile(r"#\s*(needs|takes)\b[^\n]*$")
_SHELL = re.compile(r"[|;&<>`{]|\$\(|^\w+=")


@dataclass(frozen=True)
class Command:
    """One command of a page, without its prompt, and the lines printed below it."""

    page: str
    line: int
    text: str
    shown: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text.replace("\\\n", " "), comments=True)

    @property
    def program(self) -> str:
        return self.words[0]

    @property
    def runs_here(self) -> bool:
        return _NOT_HERE.search(self.text) is None

    @property
    def needs_shell(self) -> bool:
        """Whether there is more to it than words and patterns of file names."""
        bare = re.sub(r"'[^']*'|\s#.*$", "", self.text, flags=re.MULTILINE)
        return _SHELL.search(bare) is not None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that may hold commands."""
    folders = (ROOT / "docs", ROOT / "nirgeo" / "weights")
    return [ROOT / "README.md", *sorted(p for f in folders for p in f.rglob("*.md"))]


def commands(page: Path) -> Iterator[Command]:
    """The commands of a page from top to bottom."""
    text = page.read_text(encoding="utf-8")
    name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else page.name
    for block in _BLOCK.finditer(text):
        first = text.count("\n", 0, block.start(2)) + 1
        indent = len(block[1])
        typed: list[str] = []
        shown: list[str] = []
        line = first
        for number, raw in enumerate(block[2].splitlines(), start=first):
            content = raw[indent:]
            if content.startswith("$ "):
                if typed:
                    yield Command(name, line, "\n".join(typed), tuple(shown))
                typed, shown, line = [content[2:]], [], number
            elif typed and not shown and typed[-1].endswith("\\"):
                typed.append(content)
            elif typed:
                shown.append(content)
            else:
                raise ValueError(f"{name}:{number}: output without a command: {content!r}")
        if typed:
            yield Command(name, line, "\n".join(typed), tuple(shown))


def missing_lines(shown: tuple[str, ...], printed: str) -> list[str]:
    """Lines of the page that the output does not have in this order."""
    lines = iter(printed.splitlines())
    missing = []
    for wanted in shown:
        if not wanted.strip("… "):
            continue
        pattern = re.compile(".*".join(re.escape(part) for part in wanted.rstrip().split("…")))
        if not any(pattern.fullmatch(line.rstrip()) for line in lines):
            missing.append(wanted)
    return missing
