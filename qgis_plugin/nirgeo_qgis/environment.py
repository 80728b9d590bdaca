"""The environment of the child process: the user's, without what QGIS put there for itself.

What is right for QGIS breaks another Python. ``PYTHONHOME`` ends the interpreter at once,
``PYTHONPATH`` silently swaps its numpy, ``PROJ_LIB`` gives its PROJ a database of another version.
"""

from __future__ import annotations

import ntpath
import posixpath
from collections.abc import Iterable, Mapping

_FOREIGN_PREFIXES = ("PYTHON", "PROJ_", "GDAL_", "DYLD_")
_FOREIGN_NAMES = frozenset({"LD_LIBRARY_PATH", "GEOTIFF_CSV"})
_CERTIFICATES = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
)
_SHARED_ROOTS = frozenset({"", "/", "/usr", "/usr/local", "/opt", "/opt/homebrew"})


def child_environment(
    environ: Mapping[str, str], qgis_roots: Iterable[str] = (), *, windows: bool = False
) -> dict[str, str]:
    """The variables a child Python gets.

    Parameters
    ----------
    environ : the variables of the QGIS process
    qgis_roots : folders that hold QGIS and nothing else; folders of the whole system are ignored
    windows : names are compared without case, and entries of ``PATH`` inside QGIS are left out
    """
    roots = [root for root in map(_normal(windows), qgis_roots) if root not in _SHARED_ROOTS]
    kept = {}
    for name, value in environ.items():
        plain = name.upper() if windows else name
        if plain.startswith(_FOREIGN_PREFIXES) or plain in _FOREIGN_NAMES:
            continue
        # A company's own certificates must stay: only paths into QGIS go.
        if plain in _CERTIFICATES and _inside(value, roots, windows):
            continue
        if windows and plain == "PATH":
            entries = [e for e in value.split(";") if e and not _inside(e, roots, windows)]
            value = ";".join(entries)
        kept[name] = value
    return kept


def with_own_libraries(environ: Mapping[str, str], prefix: str) -> dict[str, str]:
    """On Windows, put the folders of an environment's libraries first on ``PATH``.

    An activated conda environment has them there, and its DLLs are not found without. Folders
    that do not exist do no harm, so a plain virtual environment needs no exception.
    """
    own = [prefix]
    for parts in (("Library", "mingw-w64", "bin"), ("Library", "bin"), ("Scripts",)):
        own.append(ntpath.join(prefix, *parts))
    name = next((n for n in environ if n.upper() == "PATH"), "PATH")
    before = environ.get(name, "")
    return {**environ, name: ";".join([*own, before] if before else own)}


def _normal(windows: bool):  # type: ignore[no-untyped-def]
    def normal(path: str) -> str:
        if windows:
            return ntpath.normcase(ntpath.normpath(path)).rstrip("\\") if path else ""
        return posixpath.normpath(path) if path else ""

    return normal


def _inside(path: str, roots: list[str], windows: bool) -> bool:
    normal = _normal(windows)(path)
    separator = "\\" if windows else "/"
    return any(normal == root or normal.startswith(root + separator) for root in roots)
