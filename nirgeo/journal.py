"""Which chunks are safely on disk, one JSON line each, and what work they belong to.

The first line is the identity of the work. A line is written after its chunk was synced, so a
killed run loses at most the chunks it was computing. A torn last line is not an error.

Every line carries a checksum. A damaged line that still reads as JSON could name a chunk that was
never written, and its hole would become part of the picture. A chunk's line also holds the checksum
of its pixels, so that a disk that returns others is noticed.
"""

from __future__ import annotations

import json
import os
import threading
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from nirgeo.errors import ResumeError

FORMAT = 3  # 2: lines with checksums; 3: pixels with checksums


class Finished(NamedTuple):
    """Chunk (i, j) is on disk."""

    i: int
    j: int
    valid: int
    """Number of its valid pixels."""
    pixels: int
    """What :meth:`nirgeo.blockstore.BlockStore.write` returned for it."""


class Journal:
    """An append-only file; safe to call from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: Any = None
        self.has_chunks = False
        """Whether it names any chunk."""
        self._lock = threading.Lock()

    def create(self, identity: Mapping[str, Any]) -> None:
        """Start anew."""
        self._file = open(self.path, "w", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self._append([{"format": FORMAT, "identity": dict(identity)}])

    def resume(self, identity: Mapping[str, Any]) -> dict[tuple[int, int], Finished] | None:
        """Chunks (i, j) an earlier run of the same work finished.

        None means that there is nothing to resume from.

        Raises
        ------
        ResumeError : the earlier run was of other work; says what differs
        """
        try:
            lines = self.path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return None
        whole = b"".join(line for line in lines if line.endswith(b"\n"))
        records = []
        for line in whole.splitlines():
            record = _record(line)
            if record is None:
                break  # nothing after a damaged line can be trusted
            records.append(record)
        if not records or records[0].get("format") != FORMAT:
            return None
        _compare(records[0].get("identity"), json.loads(json.dumps(dict(identity))))
        finished: dict[tuple[int, int], Finished] = {}
        for record in records[1:]:
            try:
                i, j = map(int, record["chunk"])
                finished[i, j] = Finished(i, j, int(record["valid"]), int(record["pixels"]))
            except (KeyError, TypeError, ValueError):
                break
        # Written again without what could not be trusted, so that appending starts on a new line;
        # beside the old one, which stays whole until the new one is.
        rewritten = self.path.with_suffix(".new")
        self._file = open(rewritten, "w", encoding="utf-8")  # noqa: SIM115 (closed by close)
        for record in [records[0], *map(_chunk_record, finished.values())]:
            self._file.write(_line(record))
        self._sync()
        self.close()
        os.replace(rewritten, self.path)
        self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 (closed by close)
        self.has_chunks = bool(finished)
        return finished

    def done(self, chunks: Iterable[Finished]) -> None:
        """These chunks are on disk."""
        self.has_chunks = True
        self._append(map(_chunk_record, chunks))

    def _append(self, records: Iterable[Mapping[str, Any]]) -> None:
        lines = "".join(map(_line, records))
        with self._lock:
            self._file.write(lines)
            self._sync()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take before it does not take now
                self._file.close()
            self._file = None


def _chunk_record(chunk: Finished) -> dict[str, Any]:
    return {"chunk": [chunk.i, chunk.j], "valid": chunk.valid, "pixels": chunk.pixels}


def _checksum(record: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(record, sort_keys=True).encode())


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps({**record, "crc": _checksum(record)}) + "\n"


def _record(line: bytes) -> dict[str, Any] | None:
    """What a line holds; None if it is not as it was written."""
    try:
        record = json.loads(line)
        found = record.pop("crc")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return None
    return record if found == _checksum(record) else None


def _compare(recorded: Any, wanted: Mapping[str, Any]) -> None:
    if not isinstance(recorded, dict):
        recorded = {}
    differing = sorted(
        key for key in recorded.keys() | wanted.keys() if recorded.get(key) != wanted.get(key)
    )
    if differing:
        what = ", ".join(_change(key, recorded.get(key), wanted.get(key)) for key in differing)
        raise ResumeError(
            f"the interrupted run was other work: {what}. Repeat its options, or leave --resume "
            "away to start anew"
        )


def _change(key: str, before: Any, now: Any) -> str:
    if key == "scene":  # a page of paths, bands and times
        return "the scene is another, or has changed"
    old, new = _short(before), _short(now)
    return key if old == new else f"{key} (was {old}, is {new})"


def _short(value: Any, limit: int = 60) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
