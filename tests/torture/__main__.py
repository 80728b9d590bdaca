"""Run campaigns; see ``make torture``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from torture import fuzz, places, rasters, stops
from torture.record import Record, keep

# Campaigns, and how many cases each one has unless --cases says otherwise.
CAMPAIGNS: dict[str, tuple[Callable[[int, int, Path], Record], int]] = {
    "kills": (stops.kills, 50),
    "interruptions": (stops.interruptions, 30),
    "full-disk": (places.full_disk, 30),
    "read-errors": (places.read_errors, 20),
    "changed-scenes": (places.changed_scenes, 10),
    "two-at-once": (places.two_at_once, 20),
    "scenes": (fuzz.scenes, 1200),
    "models": (fuzz.models, 500),
    "ranges": (fuzz.ranges, 200),
    "shipped-models": (fuzz.shipped_models, 200),
    "journals": (fuzz.journals, 400),
    "rasters": (rasters.rasters, 600),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.add_argument("campaigns", nargs="*", metavar="CAMPAIGN", help=", ".join(CAMPAIGNS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, help="of each campaign, instead of its own number")
    parser.add_argument("--record", type=Path, help="a JSON file of records to put the figures in")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    options = parser.parse_args()
    unknown = sorted(set(options.campaigns) - set(CAMPAIGNS))
    if unknown:
        parser.error(f"no campaign {unknown[0]!r}; there are {', '.join(CAMPAIGNS)}")
    if options.record is not None:
        Record.after_case = lambda record: keep(record, options.record)
    # A shell starts what runs in the background without Ctrl-C, and our runs would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    found = 0
    for name in options.campaigns or CAMPAIGNS:
        campaign, cases = CAMPAIGNS[name]
        with tempfile.TemporaryDirectory(prefix="torture-", dir=options.folder) as folder:
            record = campaign(options.seed, options.cases or cases, Path(folder))
        print(json.dumps(record.to_json(), indent=1), flush=True)
        found += len(record.findings)
    print(f"{found} findings", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
