"""The ``nirgeo`` command of a given Python: how it is called, and what it says about itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .environment import child_environment, with_own_libraries
from .events import Feedback, Result, RunError, Transcript
from .interpreter import HOW_TO_SET_UP, Interpreter
from .process import STDOUT, Ended, run_child
from .wording import Labels

PROTOCOL = 1
"""The version of the JSON lines that this plugin understands."""

QUERY_SECONDS = 90.0
"""A first start after an installation can be slow: virus scanners read every file."""

Cancelled = Callable[[], bool]


class InstallationError(Exception):
    """nirgeo does not work in the chosen Python. The message is one paragraph for the user."""


class CancelledError(Exception):
    """The user cancelled while nirgeo was at work."""


@dataclass(frozen=True)
class ModelSummary:
    """A model as ``nirgeo models --json`` lists it."""

    name: str
    version: int
    summary: str
    bands: tuple[str, ...]
    quantity: str
    gsd: tuple[float, ...]

    @property
    def full_name(self) -> str:
        return f"{self.name}@{self.version}"

    def describe(self) -> str:
        """One line that lets a person choose."""
        facts = f"{' + '.join(self.bands)}, {self.quantity}"
        if len(self.gsd) == 2:
            facts += f", {self.gsd[0]:g}–{self.gsd[1]:g} m"
        return f"{self.full_name}: {self.summary or facts}"


@dataclass(frozen=True)
class NirgeoCommand:
    """The command line of one installation.

    ``environ`` and ``qgis_roots`` are the surroundings it has to be shielded from, see
    :func:`.environment.child_environment`.
    """

    interpreter: Interpreter
    environ: Mapping[str, str]
    qgis_roots: tuple[str, ...] = ()

    def arguments(self, *arguments: str) -> list[str]:
        # -I: neither PYTHON* variables nor the user's site-packages nor the current folder count.
        # -X utf8: Windows would encode messages in the code page of the day.
        return [self.interpreter.path, "-I", "-X", "utf8", "-m", "nirgeo", *arguments]

    def environment(self) -> dict[str, str]:
        windows = os.name == "nt"
        clean = child_environment(self.environ, self.qgis_roots, windows=windows)
        return with_own_libraries(clean, self.interpreter.prefix) if windows else clean

    def run(
        self,
        arguments: Sequence[str],
        feedback: Feedback,
        is_cancelled: Cancelled,
        labels: Labels,
    ) -> Result:
        """Run a command that reports in JSON lines; returns what it leaves.

        ``labels`` are the form's words for options.

        Raises
        ------
        CancelledError : the user cancelled, and the child has ended
        RunError : it failed, or could not be started
        """
        transcript = Transcript(feedback, labels)
        ended = self._run(arguments, transcript.line, is_cancelled, None)
        if ended.cancelled:
            raise CancelledError
        return transcript.check(ended)

    def query(self, *arguments: str, is_cancelled: Cancelled = lambda: False) -> Any:
        """The JSON that a command such as ``info --json`` prints.

        Raises
        ------
        CancelledError : the user cancelled
        RunError : the command failed, or said something else than JSON
        """
        said: dict[str, list[str]] = {"stdout": [], "stderr": []}
        ended = self._run(
            arguments, lambda stream, text: said[stream].append(text), is_cancelled, QUERY_SECONDS
        )
        if ended.cancelled:
            raise CancelledError
        if ended.timed_out:
            raise RunError(f"no answer within {QUERY_SECONDS:g} seconds")
        if ended.returncode != 0:
            words = [text for text in said["stderr"] if text.strip()]
            reason = words[-1] if words else f"exit code {ended.returncode}"
            raise RunError(reason[len("Error: ") :] if reason.startswith("Error: ") else reason)
        try:
            return json.loads("\n".join(said[STDOUT]))
        except ValueError:
            raise RunError(f"nirgeo {' '.join(arguments)} did not answer in JSON") from None

    def _run(
        self,
        arguments: Sequence[str],
        on_line: Callable[[str, str], None],
        is_cancelled: Cancelled,
        timeout: float | None,
    ) -> Ended:
        try:
            return run_child(
                self.arguments(*arguments),
                self.environment(),
                on_line=on_line,
                is_cancelled=is_cancelled,
                timeout=timeout,
            )
        except OSError as error:
            reason = error.strerror or error
            raise RunError(f"{self.interpreter.path} can't be started ({reason})") from error

    def versions(self, is_cancelled: Cancelled = lambda: False) -> dict[str, Any]:
        """What ``nirgeo info --json`` says, once its protocol is known to be ours.

        Raises
        ------
        CancelledError : the user cancelled
        InstallationError : nirgeo does not run there, or speaks another protocol
        """
        who = f"{self.interpreter.path} ({self.interpreter.origin})"
        try:
            facts = self.query("info", "--json", is_cancelled=is_cancelled)
        except RunError as error:
            raise InstallationError(
                f"nirgeo does not run in {who}: {error}. {HOW_TO_SET_UP}"
            ) from error
        if not isinstance(facts, dict) or "protocol" not in facts:
            raise InstallationError(f"nirgeo in {who} does not say its version. {HOW_TO_SET_UP}")
        if facts["protocol"] != PROTOCOL:
            older = "nirgeo" if _less(facts["protocol"], PROTOCOL) else "this plugin"
            raise InstallationError(
                f"nirgeo {facts.get('nirgeo')} in {who} speaks version {facts['protocol']} of the "
                f"protocol, this plugin speaks version {PROTOCOL}. Update {older}."
            )
        return facts

    def models(self, is_cancelled: Cancelled = lambda: False) -> list[ModelSummary]:
        """The shipped models.

        Raises
        ------
        CancelledError, RunError : as :meth:`query`
        """
        listed = self.query("models", "--json", is_cancelled=is_cancelled)
        return list(_summaries(listed if isinstance(listed, list) else []))


def _summaries(listed: Iterable[Any]) -> Iterable[ModelSummary]:
    for entry in listed:
        if isinstance(entry, dict) and entry.get("name"):
            yield ModelSummary(
                name=str(entry["name"]),
                version=int(entry.get("version", 1)),
                summary=str(entry.get("summary") or ""),
                bands=tuple(str(band) for band in entry.get("bands") or ()),
                quantity=str(entry.get("quantity") or ""),
                gsd=tuple(float(size) for size in entry.get("gsd") or ()),
            )


def _less(version: object, ours: int) -> bool:
    return isinstance(version, (int, float)) and version < ours
