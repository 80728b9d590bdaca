"""The repository's tools say how they are called, and take no other call."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from usage import arguments

TOOLS = sorted(
    path
    for path in (Path(__file__).resolve().parents[2] / "tools").glob("*.py")
    if "arguments(__doc__)" in path.read_text("utf-8")
)

DOC = """Make something.

    python tools/make.py DATA [LEVEL]    # one
    python tools/make.py DATA OUT NAME...
    python tools/make.py --list    # only list

More words.
"""


@pytest.mark.parametrize(
    "given",
    [["a"], ["a", "b"], ["a", "b", "c"], ["a", "b", "c", "d", "e"], ["--list"]],
    ids=" ".join,
)
def test_calls_that_a_line_allows(given: list[str]) -> None:
    assert arguments(DOC, given) == given


@pytest.mark.parametrize(
    "given", [[], ["--list", "a"], ["--lists"], ["a", "--list"], ["a", "--level"]], ids=" ".join
)
def test_other_calls_print_the_usage(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(DOC, given)
    assert ended.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[1] == "    python tools/make.py DATA [LEVEL]"
    assert len(said.err.splitlines()) == 5


def test_help_is_the_docstring(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments(DOC, ["--help"])
    assert not ended.value.code
    assert "More words." in capsys.readouterr().out


def test_the_tools_are_found() -> None:
    assert len(TOOLS) > 5


@pytest.mark.parametrize("tool", TOOLS, ids=lambda path: path.stem)
def test_a_tools_usage_names_itself(tool: Path) -> None:
    doc = tool.read_text("utf-8").split('"""')[1]
    assert set(re.findall(r"python tools/(\w+)\.py", doc)) == {tool.stem}
    with pytest.raises(SystemExit):
        arguments(doc, ["--no-such-option"])


def test_a_tool_without_arguments_ends_with_its_usage() -> None:
    tool = next(path for path in TOOLS if path.stem == "neutral_end")
    done = subprocess.run([sys.executable, tool], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "python tools/neutral_end.py MODEL FILE" in done.stderr
    assert "Traceback" not in done.stderr
