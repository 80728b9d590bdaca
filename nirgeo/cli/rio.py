"""What the ``rio`` command hands to its plugins: how much to say, and a GDAL environment.

``rio`` keeps both in ``ctx.obj``, made of its own options (``-v``, ``-q``, ``--aws-profile``,
``--aws-no-sign-requests``, ``--aws-requester-pays``). Under ``nirgeo`` there are none.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click


def rio_env(ctx: click.Context) -> AbstractContextManager[Any]:
    """The ``rasterio.Env`` to work in."""
    env: AbstractContextManager[Any] | None = _handed_over(ctx).get("env")
    return nullcontext() if env is None else env


def rio_verbosity(ctx: click.Context) -> int:
    """How often ``-v`` was given, less how often ``-q``."""
    return int(_handed_over(ctx).get("verbosity", 0))


def _handed_over(ctx: click.Context) -> dict[str, Any]:
    return ctx.obj if isinstance(ctx.obj, dict) else {}
