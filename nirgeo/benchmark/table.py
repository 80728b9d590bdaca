"""Results as a table for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

PAPER = (9.86, 5.31)
"""Mean and standard deviation of the angular error in degrees, Suárez et al. 2017."""

_LEAKY = "learnt from patches of the scored images; for comparison with the paper only"


def render(rows: Sequence[dict[str, Any]]) -> str:
    """One block per set of images and protocol, the budget beside every figure."""
    lines = []
    previous = None
    for row in rows:
        block = (row["categories"], row["protocol"])
        if block != previous:
            note = f" ({_LEAKY})" if row["protocol"] == "leaky" else ""
            lines += ["", f"{row['categories']}, split {row['protocol']}{note}"]
            lines.append(
                f"  {'':<26}{'8-bit':>7} {'± sd':>7} {'linear':>8} {'± sd':>7} {'images':>7} "
                f"{'RMSE':>7} {'folds':>6} {'seeds':>6} {'steps':>7} {'min':>6}"
            )
            if row["protocol"] == "leaky" and row["categories"] == "urban":
                lines.append(
                    f"  {'the paper':<26}{PAPER[0]:>6.2f}° {PAPER[1]:>6.2f}°  (does not say)"
                )
            previous = block
        trained = not row["contestant"].startswith("baseline/")
        lines.append(
            f"  {row['contestant']:<26}{row['angular']:>6.2f}° {row['sd']:>6.2f}° "
            f"{row['linear_angular']:>7.2f}° {row['linear_sd']:>6.2f}° "
            f"{row['image_mean']:>6.2f}° {row['rmse']:>7.4f} {len(row['folds']):>6} "
            f"{len(row['seeds']) if trained else '–':>6} "
            f"{row['steps'] if trained else 0:>7.0f} {row['minutes']:>6.1f}"
        )
    return "\n".join(lines[1:])
