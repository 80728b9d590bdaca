"""What the child says: JSON lines on stdout, words for people on stderr."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Protocol

from .process import STDOUT, Ended
from .wording import in_words_of_the_form

_KEPT_LINES = 12
_ERROR_PREFIX = "Error: "


class Feedback(Protocol):
    """The part of ``QgsProcessingFeedback`` that a run needs."""

    def setProgress(self, percent: float) -> None: ...
    def pushInfo(self, text: str) -> None: ...
    def pushWarning(self, text: str) -> None: ...


class RunError(Exception):
    """A run of nirgeo failed. The message is for the user."""


@dataclass
class Transcript:
    """Follows a run line by line and passes on what the user should see at once."""

    feedback: Feedback
    warnings: list[str] = field(default_factory=list)
    result: str | None = None
    error: str | None = None
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
            self.feedback.pushInfo(text)

    def _handle(self, event: dict[str, object]) -> None:
        kind = event.get("event")
        if kind == "progress":
            self._progress(event.get("done"), event.get("total"))
        elif kind == "warning":
            text = in_words_of_the_form(str(event.get("message", "")))
            self.warnings.append(text)
            self.feedback.pushWarning(text)
        elif kind == "result":
            self.result = str(event.get("path", ""))
        elif kind == "error":
            self.error = in_words_of_the_form(str(event.get("message", "")))
        # Events of a later nirgeo that says more than we know are not an error.

    def _progress(self, done: object, total: object) -> None:
        if not isinstance(done, (int, float)) or not isinstance(total, (int, float)) or total <= 0:
            return
        self.feedback.setProgress(min(100.0, 100.0 * done / total))
        if done >= total and not self._finishing:
            self._finishing = True
            self.feedback.pushInfo("All chunks are computed; writing the GeoTIFF …")

    def check(self, ended: Ended) -> str:
        """The path of the result.

        Raises
        ------
        RunError : the child failed; says why, as far as it can be known
        """
        if self.error:
            raise RunError(self.error)
        if ended.returncode != 0:
            raise RunError(self._failure(ended.returncode))
        if not self.result:
            raise RunError(f"nirgeo ended without a result.{self._quoted()}")
        return self.result

    def _failure(self, code: int) -> str:
        said = [t for t in self._last_words if t.startswith(_ERROR_PREFIX)]
        if said:
            return in_words_of_the_form(said[-1][len(_ERROR_PREFIX) :])
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
