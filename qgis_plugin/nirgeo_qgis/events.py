"""What the child says: JSON lines on stdout, words for people on stderr."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .process import STDOUT, Ended
from .report import one_line
from .wording import Labels, in_words_of_the_form

_KEPT_LINES = 12
_ERROR_PREFIX = "Error: "


class Feedback(Protocol):
    """The part of ``QgsProcessingFeedback`` that a run needs."""

    def setProgress(self, percent: float) -> None: ...
    def pushInfo(self, text: str) -> None: ...
    def pushWarning(self, text: str) -> None: ...


class RunError(Exception):
    """A run of nirgeo failed. The message is for the user."""


class ToldError(RunError):
    """nirgeo itself has said why it ended, and has tidied up.

    ``keeps`` says that it has left what was computed, which no form can go on from.
    """

    def __init__(self, message: str, *, keeps: bool = False) -> None:
        super().__init__(message)
        self.keeps = keeps


@dataclass(frozen=True)
class Result:
    """What a run leaves: a file that says how it was made, or figures, or both."""

    path: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class Transcript:
    """Follows a run line by line and passes on what the user should see at once."""

    feedback: Feedback
    labels: Labels = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    result: Result | None = None
    error: str | None = None
    code: str = ""
    _last_words: list[str] = field(default_factory=list)
    _finishing: bool = False

    def line(self, stream: str, text: str) -> None:
        """Take in a line; meant as ``on_line`` of :func:`.process.run_child`."""
        if not text.strip():
            return
        event = _event(text) if stream == STDOUT else None
        if event is not None:
            self._handle(event)
            return
        self._last_words = [*self._last_words, text][-_KEPT_LINES:]
        # An error comes as an event too, and is told once: at the end.
        if not text.startswith(_ERROR_PREFIX):
            self.feedback.pushInfo(one_line(text.rstrip()))

    def _handle(self, event: dict[str, object]) -> None:
        kind = event.get("event")
        if kind == "progress":
            self._progress(event.get("done"), event.get("total"))
        elif kind == "writing":
            self._share(event.get("done"), event.get("total"))
        elif kind == "warning":
            text = self._message(event)
            self.warnings.append(text)
            self.feedback.pushWarning(text)
        elif kind == "result":
            self.result = Result(
                str(event.get("path") or ""),
                {name: one_line(str(v)) for name, v in _mapping(event.get("tags")).items()},
                _mapping(event.get("figures")),
            )
        elif kind == "error":
            self.error = self._message(event)
            self.code = str(event.get("code") or "")
        # Events of a later nirgeo that says more than we know are not an error.

    def _message(self, event: Mapping[str, object]) -> str:
        option = event.get("option")
        return in_words_of_the_form(
            one_line(str(event.get("message", ""))),
            self.labels,
            option if isinstance(option, str) else None,
        )

    def _share(self, done: object, total: object) -> bool:
        """Move the bar; whether it has come to its end."""
        if not isinstance(done, (int, float)) or not isinstance(total, (int, float)) or total <= 0:
            return False
        self.feedback.setProgress(min(100.0, 100.0 * done / total))
        return done >= total

    def _progress(self, done: object, total: object) -> None:
        if self._share(done, total) and not self._finishing:
            self._finishing = True
            self.feedback.pushInfo("Everything is computed; writing the result …")

    def check(self, ended: Ended) -> Result:
        """What the run leaves.

        Raises
        ------
        RunError : the child failed; says why, as far as it can be known
        """
        if self.error:
            raise ToldError(self.error, keeps=self.code == "target-unwritable")
        if ended.returncode != 0:
            raise RunError(self._failure(ended.returncode))
        if self.result is None or not (self.result.path or self.result.figures):
            raise RunError(f"nirgeo ended without a result.{self._quoted()}")
        return self.result

    def _failure(self, code: int) -> str:
        said = [t for t in self._last_words if t.startswith(_ERROR_PREFIX)]
        if said:
            return in_words_of_the_form(said[-1][len(_ERROR_PREFIX) :], self.labels)
        if code in (-9, 137):
            return (
                "nirgeo was stopped by the operating system, probably because memory ran out. "
                "Close other programs, or choose a smaller chunk under Advanced parameters."
                + self._quoted()
            )
        if code < 0:
            return f"nirgeo was stopped by signal {-code}.{self._quoted()}"
        return f"nirgeo failed with exit code {code}.{self._quoted()}"

    def _quoted(self) -> str:
        if not self._last_words:
            return ""
        return " Its last words:\n" + "\n".join(self._last_words)


def _event(text: str) -> dict[str, object] | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) and "event" in data else None


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
