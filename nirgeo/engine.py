"""The engine: a lazy scene in, a lazy natural-colour picture out.

There is one task per chunk. For a scene from :func:`nirgeo.open_scene` it reads its own window with
halo and runs the colouriser, a network or a baseline; for any other array it is handed the
neighbouring blocks that its window touches (:mod:`nirgeo.array_blocks`). Both end in
:func:`nirgeo.inference.colorize_block`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import compute
from numpy.typing import NDArray
from rioxarray.rioxarray import DEFAULT_GRID_MAP

from nirgeo import given, provenance
from nirgeo.array_blocks import Cuts, chunk_tasks, known_pixels, mask_of, pick
from nirgeo.array_scene import (
    array_nodata,
    array_parts,
    eaten_bands,
    scaling_of,
)
from nirgeo.attributes import of_the_scene
from nirgeo.bands import COLOURS
from nirgeo.baselines.model import BaselineColouriser, BaselineModel
from nirgeo.colouriser import Colouriser, Overview, Tile, sample_tiles
from nirgeo.cube import (
    further_dimensions,
    over_dimensions,
    with_axes,
)
from nirgeo.digest import digest
from nirgeo.domain import remarks, veil
from nirgeo.errors import GridError, OptionError
from nirgeo.georeference import RPC_ATTR, corners_attribute, grid_of, with_crs_coordinate
from nirgeo.grid import Grid
from nirgeo.hrefs import absolute, absolute_scene
from nirgeo.inference import NetworkColouriser, colorize_block, network_input
from nirgeo.layers import array_from_tasks
from nirgeo.location_prior import HintField
from nirgeo.modelfile import LOCAL_AFFINE, Model, ModelSpec
from nirgeo.nodata import suspected_nodata
from nirgeo.recipe import Output, Recipe
from nirgeo.reference import open_reference
from nirgeo.registry import AUTO, AnyModel, pick_model
from nirgeo.runtimes.choice import FP32, INT8, TORCH, check_device, choose_runtime
from nirgeo.scaling import (
    Scale,
    Scaling,
)
from nirgeo.scene import SceneView, view_of
from nirgeo.scene_attributes import VALID, product_of
from nirgeo.source import RasterSource
from nirgeo.tiling import (
    DEFAULT_CHUNK_TILES,
    TILE,
    ChunkGrid,
    InputWindow,
    Window,
    input_window,
)


def colorize(
    scene: xr.DataArray,
    model: str | os.PathLike[str] | AnyModel = AUTO,
    *,
    output: Output = "display",
    scale: Scale | None = None,
    nodata: float | None = None,
    brightness: float = 1.0,
    gamma: float = 1.0,
    prior: bool | HintField = True,
    reference: str | os.PathLike[str] | None = None,
    reference_scale: Scale | None = None,
    uncertainty: bool = False,
    max_error: float | None = None,
    device: str = "cpu",
    runtime: str = TORCH,
    precision: str = FP32,
) -> xr.DataArray:
    """Natural colour for a near-infrared scene, as a lazy DataArray (``band``, ``y``, ``x``).

    A cube with more dimensions (``time``) is colorized raster by raster.

    The values are identical for every chunking of a scene as it was opened. One that was loaded,
    sliced or rechunked is any array: what is missing in its coordinate ``valid`` is missing, so in
    red and green too, and ``nodata`` adds to that. Lazy for a dask-backed scene, computed
    at once for one in memory. The coordinate ``valid`` (``y``, ``x``) is False where the scene has
    no data; there the colours are 0 (``display``) or NaN (``reflectance``).

    Parameters
    ----------
    scene : from :func:`nirgeo.open_scene`, or any DataArray with dimensions ``y`` and ``x`` (and
        ``band``, whose labels must tell which band is near infrared unless there is only one)
    model : a name (``"baseline/NAME"`` too), a path, what :func:`nirgeo.load_model` returns, or
        ``"auto"``
    output : ``"display"`` (uint8) or ``"reflectance"`` (float32, 0–1), of models for reflectance
    scale : a gain to reflectance, or ``"GAIN[,OFFSET]"``, instead of what the scene says
    nodata : value of missing pixels, instead of what the scene says; may be NaN
    brightness, gamma : change a picture (``display``) only; 1 leaves it alone
    prior : use what is known of the land's colour at the scene's place, where the model can and the
        scene has a georeference (see :mod:`nirgeo.location_prior`); or an expected colour of one's
        own, for a model that takes one
    reference : a coarser or older natural-colour raster of the place, whose colours are taken where
        it has any (see :mod:`nirgeo.reference`)
    reference_scale : a gain to reflectance, or ``"GAIN[,OFFSET]"``, instead of what the reference
        says
    uncertainty : a fourth band ``expected_error``: the expected angle between true and predicted
        colour, in quarters of a degree (``display``) or degrees
    max_error : mask pixels whose expected error is larger, in degrees
    device : a torch device; baselines run on the CPU whatever it is
    runtime : ``"torch"``, the reference; ``"onnx"`` for ONNX Runtime on the CPU, whose picture
        differs by at most one level in a few pixels; or ``"auto"`` (see
        :mod:`nirgeo.runtimes.choice`)
    precision : ``"fp32"``; ``"fp16"`` for a trunk in 16 bits on a GPU; or ``"int8"`` for a network
        in 8 bits on the CPU, at a price that the model's card tells

    Raises
    ------
    BandError, RadiometryError, ModelError, UnknownModelError, OptionError, GridError, SourceError
    """
    if reference is None and reference_scale is not None:
        raise OptionError(f"--reference-scale {reference_scale}: there is no --reference")
    wanted = _Wanted(
        model=model,
        output=output,
        nodata=given.number_or_none("--nodata", nodata),
        brightness=given.number("--brightness", brightness),
        gamma=given.number("--gamma", gamma),
        prior=prior,
        reference=reference,
        reference_scale=reference_scale,
        uncertainty=bool(uncertainty),
        max_error=given.number_or_none("--max-error", max_error),
        device=str(device),
        runtime=runtime,
        precision=precision,
    )
    return _colorize(scene, scale, wanted)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """What :func:`colorize` is asked for but the scaling, which a cube finds out for its rasters.

    The same for every raster of a cube, so no field has a default.
    """

    model: str | os.PathLike[str] | AnyModel
    output: Output
    nodata: float | None
    brightness: float
    gamma: float
    prior: bool | HintField
    reference: str | os.PathLike[str] | None
    reference_scale: Scale | None
    uncertainty: bool
    max_error: float | None
    device: str
    runtime: str
    precision: str

    def recipe(
        self, scaling: Scaling, roles: Collection[str], grid: Callable[[], Grid], product: str
    ) -> Recipe:
        """How a scene is colorized that holds such numbers in bands of these roles."""
        model = pick_model(self.model, scaling.quantity, roles, product)
        recipe = Recipe(
            colouriser_of(
                model,
                device=self.device,
                prior=self.prior,
                runtime=self.runtime,
                precision=self.precision,
            ),
            scaling,
            self.output,
            self.brightness,
            self.gamma,
            uncertainty=self.uncertainty,
            max_error=self.max_error,
        )
        if self.reference is None:
            return recipe
        return with_reference(recipe, self.reference, grid(), self.reference_scale)


def _colorize(scene: xr.DataArray, scale: Scale | None, wanted: _Wanted) -> xr.DataArray:
    """A raster, or every raster of a cube."""
    if not isinstance(scene, xr.DataArray):
        raise OptionError(
            f"a {type(scene).__name__} is no scene; open it first: nirgeo.open_scene(path), or for "
            "a Dataset import nirgeo.accessor and dataset.nirgeo.colorize()"
        )
    scene, names = with_axes(with_crs_coordinate(scene))
    if 0 in (scene.sizes.get("y"), scene.sizes.get("x")):
        raise GridError(f"the array is empty: {dict(scene.sizes)}")
    nodata = wanted.nodata
    if further_dimensions(scene) and {"y", "x"} <= set(scene.dims):
        one = partial(_colorize, wanted=wanted)
        return over_dimensions(scene, one, scale, nodata).rename(names)
    view = _view(scene, nodata)
    if view is not None:
        clues = view.source.clues
        scaling = view.scaling if scale is None else scaling_of(clues, scale)
        roles, grid = dict(view.source.roles), view.source.grid
        recipe = wanted.recipe(scaling, roles, lambda: grid, clues.product or "")
        return _from_source(scene, view, recipe).rename(names)
    array, blocks, numbers, scaling = array_parts(scene, scale, nodata)
    recipe = wanted.recipe(scaling, numbers, lambda: grid_of(array), product_of(scene))
    chosen = eaten_bands(array, blocks, numbers, recipe)
    rgb = _from_blocks(array, chosen, recipe, array_nodata(array, nodata))
    rgb = rgb.rename(names)
    return rgb if isinstance(array.data, da.Array) else rgb.compute()


def colouriser_of(
    model: AnyModel,
    *,
    device: str = "cpu",
    prior: bool | HintField = True,
    runtime: str = TORCH,
    precision: str = FP32,
) -> Colouriser:
    """What runs a model; it knows nothing of a scene yet.

    Raises
    ------
    OptionError : see :func:`nirgeo.runtimes.choice.choose_runtime`; or a baseline in 8 bits, or a
        model that can't
    ModelError : see :func:`nirgeo.runtimes.int8.read_ranges`
    """
    if isinstance(model, BaselineModel):
        for option, value, usual in (("precision", precision, FP32), ("runtime", runtime, TORCH)):
            if value not in (usual, AUTO):
                raise OptionError(f"--{option} {value}: {model.spec.full_name} is no network")
        return BaselineColouriser(model)
    if device.partition(":")[0] == "cpu":
        device = "cpu"  # torch counts processors too, of which there is one
    check_device(device)
    halo, stride = reach(model)
    model = replace(model, path=absolute(model.path))
    chosen = choose_runtime(runtime, precision, device)
    in_trunk = chosen.name == TORCH and chosen.precision != FP32
    if in_trunk and model.spec.architecture != LOCAL_AFFINE:
        name = model.spec.full_name
        raise OptionError(f"--precision {precision}: {name} has no trunk to run in it")
    if chosen.precision == INT8:  # refused here, not in the first chunk
        from nirgeo.runtimes.int8 import read_ranges

        read_ranges(model)
        if in_trunk:
            from nirgeo.runtimes.int8_trunk import check_kernels

            check_kernels()
    if isinstance(prior, HintField):
        return NetworkColouriser(
            model, halo, stride, device, prior=False, hint=prior, runtime=chosen
        )
    return NetworkColouriser(model, halo, stride, device, prior, runtime=chosen)


def with_reference(
    recipe: Recipe,
    path: str | os.PathLike[str],
    grid: Grid,
    scale: Scale | None = None,
) -> Recipe:
    """The recipe with colours from a reference, for a scene on this grid.

    Raises
    ------
    OptionError : the model makes no natural colours
    GridError, SourceError, BandError, RadiometryError : see
        :func:`nirgeo.reference.open_reference`
    """
    if recipe.spec.colours != COLOURS:
        made = ", ".join(recipe.spec.colours)
        raise OptionError(f"--reference is for natural colours; {recipe.spec.name} makes {made}")
    reference = open_reference(absolute_scene(given.file_name("--reference", path)), grid, scale)
    return replace(recipe, colouriser=recipe.colouriser.guided(reference), reference=reference)


def model_for(
    scene: xr.DataArray,
    model: str | os.PathLike[str] | AnyModel = AUTO,
    *,
    scale: str | Scaling | None = None,
    nodata: float | None = None,
) -> tuple[AnyModel, Scaling]:
    """The model that :func:`colorize` takes for a scene (band, y, x), and the scene's scaling.

    Parameters and errors are those of :func:`colorize`.
    """
    scene, _ = with_axes(scene)
    view = _view(scene, nodata)
    if view is None:
        _, _, numbers, scaling = array_parts(scene, scale, nodata)
        return pick_model(model, scaling.quantity, numbers, product_of(scene)), scaling
    clues = view.source.clues
    scaling = view.scaling if scale is None else scaling_of(clues, scale)
    roles = dict(view.source.roles)
    return pick_model(model, scaling.quantity, roles, clues.product or ""), scaling


def unlike_training(
    scene: xr.DataArray,
    model: str | os.PathLike[str] | AnyModel = AUTO,
    *,
    scale: str | Scaling | None = None,
    nodata: float | None = None,
) -> tuple[list[str], list[str]]:
    """What of a scene (band, y, x) looks like missing pixels that it does not declare; and what
    sets it apart from those that a model has learnt from. For people.

    Reads a few tiles. A model that does not tell what it has seen is no measure. Parameters and
    errors are those of :func:`colorize`.
    """
    scene, _ = with_axes(scene)
    chosen, scaling = model_for(scene, model, scale=scale, nodata=nodata)
    recipe = Recipe(colouriser_of(chosen), scaling)
    view = _view(scene, nodata)
    missing: list[str] = []
    if view is not None:
        missing, frame = suspected_nodata(view.source.samples(recipe.spec.bands), recipe.spec.bands)
        # What has been told needs not be told again as strange ground.
        tiles = _overview(view.source, recipe, frame).tiles()
    else:
        array, blocks, numbers, _ = array_parts(scene, scaling, nodata)
        eaten = eaten_bands(array, blocks, numbers, recipe)
        read = partial(_read_blocks, eaten, None, array_nodata(array, nodata), recipe)
        tiles = sample_tiles((eaten.shape[1], eaten.shape[2]), read)
    spec = recipe.spec
    if not isinstance(spec, ModelSpec) or not spec.domain:
        return missing, []
    return missing, remarks(spec.domain, spec.bands, spec.quantity, tiles)


def _informed(recipe: Recipe, scene: Overview) -> Recipe:
    recipe = replace(recipe, colouriser=recipe.colouriser.seen(scene))
    spec = recipe.spec
    if not recipe.needs_error or not isinstance(spec, ModelSpec) or not spec.domain:
        return recipe
    return replace(recipe, veil=veil(spec.domain, spec.bands, spec.quantity, scene.tiles()))


def _tile(values: NDArray[Any], valid: NDArray[np.bool_], recipe: Recipe) -> Tile:
    """A piece of a scene as colourisers see it."""
    return network_input(values, valid, recipe), valid


# --- scenes that are read from a source -----------------------------------------------------------


def _view(scene: xr.DataArray, nodata: float | None) -> SceneView | None:
    """The view behind a scene, with another value for missing pixels if one is given."""
    view = view_of(scene)
    if view is None or nodata is None:
        return view
    return replace(view, source=view.source.with_nodata(nodata))


def _colorize_window(
    source: RasterSource,
    numbers: Sequence[int],
    window: InputWindow,
    recipe: Recipe,
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """One chunk, from file to colours. Pure and serialisable: dask sends it anywhere."""
    values, valid = source.read(window.read, numbers)
    return colorize_block(values, valid, window, recipe)


def _from_source(scene: xr.DataArray, view: SceneView, recipe: Recipe) -> xr.DataArray:
    source, region, grid = view.source, view.region, view.chunk_grid
    numbers = [source.number_of(role) for role in recipe.spec.bands]
    recipe = _informed(recipe, _overview(source, recipe))
    identity = view.identity() | recipe.identity()
    anywhere = source.absolute()
    work = f"nirgeo-chunk-{digest(identity)}"
    tasks = {}
    for i, j, chunk in grid.windows(_chunks_across(source, grid)):
        window = input_window(
            chunk.shifted(region.row, region.col),
            halo=recipe.halo,
            stride=recipe.colouriser.stride,
            raster=source.grid.shape,
        )
        tasks[(work, i, j)] = (partial(_colorize_window, anywhere, numbers, window, recipe),)
    return _assemble(
        scene, recipe, work, tasks, (grid.row_sizes, grid.col_sizes), identity, dependencies=()
    )


_COLUMN = 4096
"""Pixels across that chunks are taken from at a time, so that what was decoded for one row of them
is still there for the next, however wide the scene is."""


def _chunks_across(source: RasterSource, grid: ChunkGrid) -> int | None:
    """How many chunks side by side are taken before the next row; all where rows are one block."""
    striped = source.block_shape[1] >= source.grid.width
    return None if striped else max(1, _COLUMN // grid.step)


def _overview(source: RasterSource, recipe: Recipe, frame: float | None = None) -> Overview:
    """A scene on disk as a whole; without what is ``frame`` in all bands."""
    numbers = [source.number_of(role) for role in recipe.spec.bands]

    def read(windows: Sequence[Window]) -> list[Tile]:
        found = [source.read(window, numbers) for window in windows]
        if frame is not None:
            found = [(v, valid & ~(v == frame).all(axis=0)) for v, valid in found]
        return [_tile(values, valid, recipe) for values, valid in found]

    return Overview(source.grid.shape, lambda: source.grid, read)


def reach(model: Model) -> tuple[int, int]:
    """Halo and stride of a model's network, in pixels, from its shape alone."""
    from nirgeo.architectures import generator_shape

    shape = generator_shape(model.spec.architecture, model.spec.generator)
    return shape.halo, shape.stride


def _assemble(
    scene: xr.DataArray,
    recipe: Recipe,
    work: str,
    tasks: dict[Any, Any],
    chunks: tuple[tuple[int, ...], tuple[int, ...]],
    identity: dict[str, Any],
    dependencies: tuple[da.Array, ...],
    cuts: Cuts | None = None,
) -> xr.DataArray:
    """Colours and mask of tasks that return both, as one DataArray like ``scene``.

    ``cuts`` tells of every chunk in which task it lies, and where if it is not all of it.
    """
    name, valid_name = (work.replace("chunk", part) for part in ("rgb", "rgb-valid"))
    if cuts is None:
        cuts = {(i, j): ((work, i, j), None) for _, i, j in tasks}
    picks, valid_picks = {}, {}
    for (i, j), (key, part) in cuts.items():
        picks[name, 0, i, j] = partial(pick, 0, part), key
        valid_picks[valid_name, i, j] = partial(pick, 1, part), key
    bands = recipe.bands
    shared: dict[str, Any] = {"dependencies": dependencies, "more_layers": {work: tasks}}
    data = array_from_tasks(
        name, picks, ((len(bands),), *chunks), recipe.dtype, facts=identity, **shared
    )
    valid = array_from_tasks(valid_name, valid_picks, chunks, np.bool_, facts=identity, **shared)
    coords = {
        key: value
        for key, value in scene.coords.items()
        if key not in ("band", VALID) and "band" not in value.dims
    }
    kept = of_the_scene(scene.attrs) | {
        key: scene.attrs[key] for key in (RPC_ATTR,) if key in scene.attrs
    }
    rgb = xr.DataArray(
        data,
        dims=("band", "y", "x"),
        coords=coords,
        name="rgb",
        attrs=kept | corners_attribute(scene) | provenance.attributes(recipe.provenance()),
    )
    rgb = rgb.assign_coords({"band": list(bands), VALID: (("y", "x"), valid)})
    mapping = scene.rio.grid_mapping
    # What many netCDF files call otherwise. Of its usual name nothing is to be said: a store that
    # says it is opened with the CRS as a variable.
    if mapping != DEFAULT_GRID_MAP and mapping in rgb.coords:
        rgb = rgb.rio.write_grid_mapping(mapping)
    if recipe.output == "reflectance":
        rgb = rgb.rio.write_nodata(np.nan)
    return rgb


# --- any other DataArray --------------------------------------------------------------------------


def _read_blocks(
    blocks: da.Array,
    mask: da.Array | None,
    nodata: float | None,
    recipe: Recipe,
    windows: Sequence[Window],
) -> list[Tile]:
    """Some windows of an array, computed together."""
    values = [blocks[(slice(None), *window.slices)] for window in windows]
    masks = [True if mask is None else mask[window.slices] for window in windows]
    computed = zip(*compute(values, masks), strict=True)
    return [_tile(part, valid & known_pixels(part, nodata), recipe) for part, valid in computed]


def _from_blocks(
    scene: xr.DataArray, blocks: da.Array, recipe: Recipe, nodata: float | None
) -> xr.DataArray:
    """Keep the array's own chunks; give every one the neighbours that its halo touches.

    Small ones are computed together and then cut apart.
    """
    blocks = blocks.rechunk({0: -1})
    if min(max(sizes) for sizes in blocks.chunks[1:]) < TILE <= min(blocks.shape[1:]):
        # Slivers would read their halo many times over.
        side = DEFAULT_CHUNK_TILES * TILE
        blocks = blocks.rechunk({1: side, 2: side})
    rows, cols = blocks.chunks[1:]
    mask: da.Array | None = None
    if VALID in scene.coords:
        mask = mask_of(scene).rechunk((rows, cols))
    raster = blocks.shape[1:]
    read_windows = partial(_read_blocks, blocks, mask, nodata, recipe)
    recipe = _informed(recipe, Overview(raster, lambda: grid_of(scene), read_windows))
    identity = {
        "array": [blocks.name, mask.name if mask is not None else None, repr(nodata)],
        "chunk": [list(rows), list(cols)],
    } | recipe.identity()
    work = f"nirgeo-chunk-{digest(identity)}"
    tasks, cuts = chunk_tasks(blocks, mask, nodata, recipe, work)
    dependencies = (blocks,) if mask is None else (blocks, mask)
    return _assemble(scene, recipe, work, tasks, (rows, cols), identity, dependencies, cuts)
