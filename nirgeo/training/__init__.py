"""Training a generator from rasters, through the same reader, tiles and radiometry as inference."""
