"""``python -m benchmarks``: measure something and keep the record, or write the page."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import machine, page
from nirgeo.errors import NirgeoError
from nirgeo.radiometry import Quantity
from nirgeo.registry import load_model


def _unfit(name: str, what: str) -> str | None:
    """Why a model can't be measured so: scenes have one band, and peers take it for reflectance."""
    try:
        spec = load_model(name).spec
    except NirgeoError as error:
        return str(error)
    if what != "network" and spec.bands != ("nir",):
        return f"needs {', '.join(spec.bands)}, and the scenes have near infrared alone"
    if what == "peers" and spec.quantity is not Quantity.REFLECTANCE:
        return f"colours {spec.quantity.value}, and what it is compared with reflectance"
    return None


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", choices=(*page.MEASURED, "page"))
    parser.add_argument("--folder", type=Path, default=Path("build/benchmarks"), help="scenes")
    parser.add_argument("--records", type=Path, default=page.RECORDS, help="where records go")
    parser.add_argument("--side", type=int, default=4096, help="of the scene, px")
    parser.add_argument("--sides", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--middle", type=int, default=4096, help="side for chunks and workers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="satellite-nir")
    parser.add_argument("--check", action="store_true", help="of page: only compare")
    chosen = parser.parse_args(arguments)
    if chosen.what == "page":
        return page.main(chosen.records, check=chosen.check)
    if (why := _unfit(chosen.model, chosen.what)) is not None:
        parser.error(f"--model {chosen.model}: {why}")
    here = machine.describe()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    chosen.records.mkdir(parents=True, exist_ok=True)  # before it takes minutes
    folder = chosen.folder.resolve()
    record: dict[str, Any]
    if chosen.what == "engine":
        from benchmarks import engine

        record = engine.measure(folder, chosen.side, chosen.rounds, chosen.model)
    elif chosen.what == "network":
        from benchmarks import network

        record = network.measure(chosen.rounds, chosen.model)
    elif chosen.what == "deflate":
        from benchmarks import deflate

        record = deflate.measure(folder, chosen.side, chosen.rounds, chosen.model)
    elif chosen.what == "peers":
        from benchmarks.peers import measure

        record = measure.measure(folder, chosen.side, chosen.rounds, chosen.model)
    else:
        from benchmarks import scaling

        record = scaling.measure(folder, chosen.sides, chosen.rounds, chosen.middle, chosen.model)
    record = machine.rounded({"machine": here, **record})
    file = chosen.records / f"{chosen.what}.json"
    print(page.TABLES[chosen.what](record))
    file.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
