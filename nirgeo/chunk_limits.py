"""How large chunks may be, and how many."""

from __future__ import annotations

from nirgeo.errors import OptionError
from nirgeo.given import count
from nirgeo.tiling import DEFAULT_CHUNK_TILES, ChunkGrid

MAX_CHUNKS = 2**18
"""More would take minutes and gigabytes before the first is computed. By default: 524,288² px."""

MAX_CHUNK_TILES = 512


def check_chunk(chunk: int | None) -> int:
    if chunk is None:
        return DEFAULT_CHUNK_TILES
    chunk = count("--chunk", chunk)
    if chunk < 1 or chunk > MAX_CHUNK_TILES:
        raise OptionError(
            f"--chunk {chunk}: a chunk is 1 to {MAX_CHUNK_TILES} tiles of 64 px on a side"
        )
    return chunk


def refuse_too_many(grid: ChunkGrid) -> None:
    """A few bytes can declare a scene of any size, and every chunk of it costs memory at once."""
    if len(grid) <= MAX_CHUNKS:
        return
    wanted = grid
    while len(wanted) > MAX_CHUNKS and wanted.tiles < MAX_CHUNK_TILES:
        wanted = ChunkGrid(grid.height, grid.width, min(2 * wanted.tiles, MAX_CHUNK_TILES))
    larger = f"larger ones (--chunk {wanted.tiles}) or " if len(wanted) <= MAX_CHUNKS else ""
    raise OptionError(
        f"--chunk {grid.tiles}: the scene's {grid.width}×{grid.height} px are {len(grid)} chunks "
        f"of {grid.step}² px, more than {MAX_CHUNKS}; take {larger}a part of the scene (--bounds)"
    )
