"""STAC: items as scenes, results as items, catalogues as sources of training data.

Reading takes the standard library's JSON and no more: a dozen fields are needed of an item, and
what a stranger wrote is bounded and checked before anything else looks at it. pystac would follow
links and read files of any size by itself.
"""
