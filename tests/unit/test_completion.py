"""What the Tab key offers, in the shells themselves where they are installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from nirgeo.cli.completion import SHELLS
from nirgeo.cli.main import main
from nirgeo.registry import shipped_models
from nirgeo.training.presets import PRESETS

BIN = Path(sys.executable).parent


def offered(*words: str) -> list[tuple[str, str]]:
    """(type, value) for the last word."""
    completer = ShellComplete(main, {}, "nirgeo", "_NIRGEO_COMPLETE")
    return [(i.type, i.value) for i in completer.get_completions(list(words[:-1]), words[-1])]


def test_models_presets_and_devices() -> None:
    names = [value for _, value in offered("colorize", "--model", "satellite")]
    assert names == sorted(m.name for m in shipped_models() if m.name.startswith("satellite"))
    assert ("plain", "baseline/trees") in offered("evaluate", "baseline/")
    assert {value for _, value in offered("train", "--preset", "")} == set(PRESETS)
    assert ("plain", "cuda") in offered("colorize", "--device", "cu")


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("colorize", "sce"), "file"),
        (("info", "sce"), "file"),
        (("compare", "a.tif", "b"), "file"),
        (("colorize", "--model", "./mine"), "file"),
        (("colorize", "--reference", ""), "file"),
        (("colorize", "--out-dir", "x"), "dir"),
        (("train", "sce"), "dir"),
        (("evaluate", "--data", "sce"), "dir"),
    ],
)
def test_files_and_folders_are_left_to_the_shell(words: tuple[str, ...], kind: str) -> None:
    assert offered(*words) == [(kind, words[-1])]


def test_an_unknown_shell_is_refused() -> None:
    result = CliRunner().invoke(main, ["completion", "tcsh"])
    assert result.exit_code == 2
    assert "bash" in result.stderr


def test_a_waiting_shell_does_not_wait_for_torch() -> None:
    program = (
        "import sys\n"
        "from click.shell_completion import ShellComplete\n"
        "from nirgeo.cli.main import main\n"
        "complete = ShellComplete(main, {}, 'nirgeo', '_NIRGEO_COMPLETE').get_completions\n"
        "assert complete(['colorize', '--model'], 'aer')\n"
        "assert complete(['train', '--preset'], 'aer')\n"
        "print([m for m in ('torch', 'rasterio', 'xarray', 'dask') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# What a shell does when Tab is pressed after `nirgeo colorize --model sat`.
PRESS_TAB = {
    "bash": (
        'eval "$(nirgeo completion bash)"; COMP_WORDS=(nirgeo colorize --model sat); COMP_CWORD=3; '
        '_nirgeo_completion nirgeo; printf "%s\\n" "${COMPREPLY[@]}"'
    ),
    "zsh": (  # outside its line editor zsh has no compadd: print what it would be given
        "compdef() { :; }; compadd() { print -l -- $completions; }; "
        'eval "$(nirgeo completion zsh)"; words=(nirgeo colorize --model sat); CURRENT=4; '
        "_nirgeo_completion"
    ),
    "fish": 'nirgeo completion fish | source; complete -C "nirgeo colorize --model sat"',
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_completes(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run(
        [program, "-c", PRESS_TAB[shell]],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)},
        cwd=tmp_path,
        timeout=120,
    )
    assert "satellite-rgn-toa" in done.stdout.split(), done.stdout + done.stderr
    assert "aerial-nir" not in done.stdout.split()
