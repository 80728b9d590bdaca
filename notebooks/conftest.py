"""How the notebooks are executed: without a network, and those of an extra only where it is."""

import importlib.util

import pytest

NEEDS = {"07_on_a_map.ipynb": ("ipyleaflet", "maps")}
"""Package and extra by notebook; what others need is in the extra notebooks."""

NOWHERE = "http://127.0.0.1:9"
"""A proxy that nobody answers at: whoever asks the network for something fails at once."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    with pytest.MonkeyPatch.context() as patch:
        for scheme in ("http", "https"):
            patch.setenv(f"{scheme}_proxy", NOWHERE)
            patch.setenv(f"{scheme.upper()}_PROXY", NOWHERE)
        return (yield)


def pytest_collection_modifyitems(items):
    for item in items:
        package, extra = NEEDS.get(item.path.name, (None, None))
        if package is not None and importlib.util.find_spec(package) is None:
            item.add_marker(pytest.mark.skip(reason=f"needs the extra {extra}"))
