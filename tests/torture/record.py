"""What a campaign found, as numbers."""

from __future__ import annotations

import json
import os
import platform
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import rasterio


@dataclass
class Record:
    """Counts of a campaign's cases by how they ended, and every case that ended as none may."""

    campaign: str
    seed: int
    cases: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    figures: dict[str, float] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    after_case: ClassVar[Callable[[Record], None] | None] = None
    """Called after every case, so that a campaign that is stopped leaves what it has found."""

    def add(self, outcome: str, problems: list[str], case: str) -> None:
        """One case: how it ended, and what was wrong with that."""
        self.cases += 1
        self.outcomes[outcome] += 1
        self.findings += [f"{case}: {problem}" for problem in problems]
        self.seconds = time.monotonic() - self.begun
        if Record.after_case is not None:
            Record.after_case(self)

    def largest(self, name: str, value: float) -> None:
        self.figures[name] = max(value, self.figures.get(name, value))

    def count(self, name: str, value: float) -> None:
        """Add to a sum over all cases."""
        self.figures[name] = self.figures.get(name, 0) + value

    def to_json(self) -> dict[str, Any]:
        return {
            "campaign": self.campaign,
            "seed": self.seed,
            "cases": self.cases,
            "seconds": round(self.seconds),
            "outcomes": dict(sorted(self.outcomes.items())),
            "figures": {name: round(value, 3) for name, value in sorted(self.figures.items())},
            "findings": self.findings,
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
            "versions": {
                "python": platform.python_version(),
                "gdal": rasterio.__gdal_version__,
                **{name: version(name) for name in ("nirgeo", "torch", "rasterio", "numpy")},
            },
        }


def keep(record: Record, path: Path) -> None:
    """Put a record into a file of records, in place of one of the same campaign and seed."""
    records = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    records[f"{record.campaign}, seed {record.seed}"] = record.to_json()
    path.write_text(json.dumps(dict(sorted(records.items())), indent=1) + "\n", encoding="utf-8")
