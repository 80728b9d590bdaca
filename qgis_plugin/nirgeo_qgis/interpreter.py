"""Which Python runs nirgeo: the one that was named, else one that visibly has it.

Looking never starts a process. Whether nirgeo really works there is asked when it is first needed
(:mod:`.nirgeo_cli`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "NIRGEO_PYTHON"
SETTING_PLACE = "Settings › Options › Processing › Providers › nirgeo"

HOW_TO_SET_UP = (
    "nirgeo runs in a Python environment of its own, outside QGIS. Create one and install nirgeo "
    "in it as its documentation says, then enter that environment's Python (for example "
    "/home/me/nirgeo/bin/python, or C:\\Users\\me\\nirgeo\\Scripts\\python.exe) under "
    f"{SETTING_PLACE}, or in the environment variable {VARIABLE}, and run the tool again."
)


class InterpreterError(Exception):
    """There is no Python to run nirgeo with. The message is one paragraph for the user."""


@dataclass(frozen=True)
class Interpreter:
    """A Python executable, and how it was found."""

    path: str
    origin: str

    @property
    def prefix(self) -> str:
        """The environment's folder."""
        folder = os.path.dirname(self.path)
        return os.path.dirname(folder) if _is_scripts_folder(folder) else folder


def find_interpreter(
    setting: str,
    environ: Mapping[str, str],
    *,
    home: Path | None = None,
    windows: bool = os.name == "nt",
) -> Interpreter:
    """The Python to run nirgeo with.

    Parameters
    ----------
    setting : what the user entered in QGIS's options; empty when nothing
    environ : environment variables; ``NIRGEO_PYTHON`` goes before the setting
    home : the user's folder, searched when nothing is named
    windows : how environments are laid out

    Raises
    ------
    InterpreterError : nothing was named and nothing found, or what was named is no Python
    """
    for text, origin in (
        (environ.get(VARIABLE, ""), f"environment variable {VARIABLE}"),
        (setting or "", SETTING_PLACE),
    ):
        if text.strip():
            return Interpreter(_executable(text.strip(), origin, windows), origin)
    for prefix, origin in _candidates(environ, home or Path.home(), windows):
        python = python_of(prefix, windows)
        if python is not None and has_nirgeo(prefix, windows):
            return Interpreter(str(python), origin)
    raise InterpreterError(f"No Python environment with nirgeo was found. {HOW_TO_SET_UP}")


def python_of(prefix: Path, windows: bool) -> Path | None:
    """The executable of an environment: a virtual one, or one of conda's."""
    places = ("Scripts/python.exe", "python.exe") if windows else ("bin/python", "bin/python3")
    return next((prefix / place for place in places if (prefix / place).is_file()), None)


def has_nirgeo(prefix: Path, windows: bool) -> bool:
    """Whether an environment lists nirgeo among its installed packages."""
    pattern = "Lib/site-packages" if windows else "lib/python3*/site-packages"
    return any(
        True for site in prefix.glob(pattern) for _ in site.glob("nirgeo-*.dist-info/METADATA")
    )


def _executable(text: str, origin: str, windows: bool) -> str:
    """What the user named as the path of a Python: the file itself, or its environment."""
    path = Path(text.strip('"')).expanduser()
    found: Path | None = path
    if path.is_dir():
        found = python_of(path, windows)
    elif path.stem == "nirgeo" and path.is_file():  # the command, instead of the Python beside it
        # pipx and uv link it from elsewhere, as in the search below.
        found = python_of(Path(os.path.realpath(path)).parent.parent, windows)
    if found is None or not found.is_file():
        raise InterpreterError(
            f"{text}, named by {origin}, is not a Python interpreter. {HOW_TO_SET_UP}"
        )
    if not os.access(found, os.X_OK):
        raise InterpreterError(
            f"{found}, named by {origin}, is not an executable file. {HOW_TO_SET_UP}"
        )
    return str(found.absolute())  # not resolved: a virtual environment is known by its link


def _candidates(
    environ: Mapping[str, str], home: Path, windows: bool
) -> Iterator[tuple[Path, str]]:
    """Environments worth a look, the likeliest first."""
    # Started from the desktop, QGIS does not have ~/.local/bin on its PATH.
    path = os.pathsep.join([environ.get("PATH", ""), str(home / ".local" / "bin")])
    command = shutil.which("nirgeo", path=path)
    if command:
        # pipx and uv link the command from elsewhere; the environment is where it really lies.
        yield Path(os.path.realpath(command)).parent.parent, "the nirgeo command on the PATH"
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if environ.get(variable):
            yield Path(environ[variable]), f"the active environment ({variable})"
    for tools in _tool_folders(environ, home, windows):
        yield tools / "nirgeo", f"an environment in {tools}"
    for place in ("nirgeo", "nirgeo/.venv", ".nirgeo", ".venv", "nirgeo-env"):
        yield home / place, "an environment in the home folder"
    for listed in _conda_environments(home):
        yield listed, "a conda environment"
    for folder in (".virtualenvs", ".venvs", "venvs", "micromamba/envs", "miniforge3/envs"):
        for prefix in sorted((home / folder).glob("*")):
            yield prefix, f"an environment in {home / folder}"


def _tool_folders(environ: Mapping[str, str], home: Path, windows: bool) -> Iterator[Path]:
    """Where pipx and uv keep one environment per tool."""
    data = Path(environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    yield data / "pipx" / "venvs"
    yield home / ".local" / "pipx" / "venvs"
    yield data / "uv" / "tools"
    if windows:
        yield home / "pipx" / "venvs"
        yield home / "AppData" / "Roaming" / "uv" / "tools"


def _conda_environments(home: Path) -> Iterator[Path]:
    """Conda and mamba write down every environment they make."""
    try:
        lines = (home / ".conda" / "environments.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        if line.strip():
            yield Path(line.strip())


def _is_scripts_folder(folder: str) -> bool:
    return os.path.basename(folder).lower() in ("bin", "scripts")
