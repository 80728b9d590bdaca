"""Build the plugin's zip: ``python qgis_plugin/package.py`` writes dist/nirgeo_qgis-VERSION.zip.

The same sources give the same bytes on every machine: sorted names, one date, no compression
(libraries for it differ). What was built is then held against the rules of plugins.qgis.org.
Standard library only, so that it runs before anything is installed.

metadata.txt has no real addresses: they belong to whoever publishes the plugin, and a ``--release``
is not built without them.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import io
import re
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlparse

HERE = Path(__file__).resolve().parent
PLUGIN = HERE / "nirgeo_qgis"
DIST = HERE.parent / "dist"

MAX_BYTES = 25_000_000
REQUIRED = (
    "name",
    "description",
    "about",
    "version",
    "qgisMinimumVersion",
    "author",
    "email",
    "tracker",
    "repository",
)
ADDRESSES = ("homepage", "repository", "tracker", "email")
OLDEST_PYTHON = (3, 9)  # of QGIS 3.22 on Windows and macOS

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date a zip can hold
_SHIPPED = {".py", ".svg", ".png", ".txt"}
_UNWANTED = re.compile(r"(^|/)(__pycache__|__MACOSX|\.git|\.DS_Store)(/|$)|\.py[co]$|\.\.")
_FOLDER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_PICTURES = {"icon", "screenshot"}

# Names that nobody can own (RFC 2606), and what the plugin builder fills in.
_NOT_AN_ADDRESS = re.compile(
    r"(^|[/@.])(example\.(com|net|org)|[\w-]+\.(example|invalid|test)|localhost)(?=[:/]|$)"
    r"|^https?://(bugs|repo|homepage)$"
)


def read_metadata(text: str) -> dict[str, str]:
    """The ``[general]`` section of a metadata.txt."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return dict(parser["general"])


def shipped_files(plugin: Path) -> list[Path]:
    """What belongs into the zip, by what it is and not by what happens to lie there."""
    return sorted(
        path
        for path in plugin.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (path.suffix in _SHIPPED or path.name == "LICENSE")
    )


def build(plugin: Path, addresses: Mapping[str, str] = MappingProxyType({})) -> bytes:
    """The zip with the plugin's folder at its top, and these addresses in its metadata."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in shipped_files(plugin):
            name = path.relative_to(plugin.parent).as_posix()
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system = 3  # Unix, wherever it is built
            entry.external_attr = 0o100644 << 16
            # A checkout on Windows may have turned the ends of lines.
            data = path.read_bytes()
            if path.suffix != ".png":
                data = data.replace(b"\r\n", b"\n")
            if path.name == "metadata.txt":
                data = _with_addresses(data.decode("utf-8"), addresses).encode("utf-8")
            archive.writestr(entry, data)
    return buffer.getvalue()


def _with_addresses(metadata: str, addresses: Mapping[str, str]) -> str:
    for key, value in addresses.items():
        line = f"{key}={value.strip()}"
        metadata = re.sub(rf"^{key}=.*$", lambda _, line=line: line, metadata, flags=re.MULTILINE)
    return metadata


def problems(data: bytes, *, release: bool = False) -> list[str]:
    """Everything plugins.qgis.org would refuse, and what QGIS itself could not run.

    Only for a ``release`` must the addresses be real. Whether they answer is asked over there.
    """
    found = []
    if len(data) > MAX_BYTES:
        found.append(f"{len(data)} bytes, more than {MAX_BYTES}")
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.testzip() is not None:
            found.append("the archive is damaged")
        names = archive.namelist()
        found += [f"{name} must not be in the archive" for name in names if _UNWANTED.search(name)]
        tops = {name.split("/")[0] for name in names}
        if len(tops) != 1 or any("/" not in name for name in names):
            return [*found, f"need exactly one folder at the top, found {sorted(tops)}"]
        top = tops.pop()
        if not _FOLDER.fullmatch(top):
            found.append(f"the folder {top} is not a Python identifier in plain letters")
        if top == "nirgeo":
            found.append("a folder named nirgeo would hide the library from everything in QGIS")
        for needed in ("__init__.py", "metadata.txt", "LICENSE"):
            if f"{top}/{needed}" not in names:
                found.append(f"{top}/{needed} is missing")
        if f"{top}/metadata.txt" in names:
            text = archive.read(f"{top}/metadata.txt").decode("utf-8")
            found += _metadata_problems(text, top, names, release)
        for name in names:
            if name.endswith(".py"):
                found += _source_problems(name, archive.read(name).decode("utf-8"))
    return found


def _metadata_problems(text: str, top: str, names: list[str], release: bool) -> list[str]:
    try:
        metadata = read_metadata(text)
    except (configparser.Error, KeyError) as error:
        return [f"metadata.txt can't be read ({error})"]
    found = [f"metadata.txt: {key} is missing" for key in REQUIRED if not metadata.get(key)]
    for key in ("tracker", "repository", "homepage"):
        url = urlparse(metadata.get(key, "https://x"))
        if url.scheme not in ("http", "https") or not url.netloc:
            found.append(f"metadata.txt: {key} is not a web address")
    if release:
        found += [
            f"metadata.txt: {key} {metadata.get(key)} is a placeholder; give --{key}"
            for key in ADDRESSES
            if _NOT_AN_ADDRESS.search(metadata.get(key, ""))
        ]
    if "%" in text:
        found.append("metadata.txt: plugins.qgis.org takes a percent sign for a reference")
    if "/" in metadata.get("author", ""):
        found.append("metadata.txt: author must not contain a slash")
    if not re.fullmatch(r"\S+@\S+\.\S+", metadata.get("email", "")):
        found.append("metadata.txt: email is not an address")
    for key in ("version", "qgisMinimumVersion", "qgisMaximumVersion"):
        if not re.fullmatch(r"\d+\.\d+(\.\d+)?", metadata.get(key, "0.0")):
            found.append(f"metadata.txt: {key} is not a version number")
    if metadata.get("hasProcessingProvider", "").lower() not in ("yes", "true"):
        found.append("metadata.txt: without hasProcessingProvider=yes, qgis_process ignores it")
    for key in _PICTURES & set(metadata):
        if f"{top}/{metadata[key]}" not in names:
            found.append(f"metadata.txt: {key} {metadata[key]} is not in the archive")
    return found


def _source_problems(name: str, source: str) -> list[str]:
    try:
        tree = ast.parse(source, name, feature_version=OLDEST_PYTHON)
    except SyntaxError as error:
        return [f"{name} is no Python {'.'.join(map(str, OLDEST_PYTHON))} ({error})"]
    found = []
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        for module in modules:
            # "processing" is QGIS's own, and the only way to its options and widgets.
            root = module.split(".")[0]
            if root not in sys.stdlib_module_names | {"qgis", "processing", "osgeo"}:
                found.append(f"{name} imports {module}, which QGIS does not have")
            if root in ("PyQt5", "PyQt6"):
                found.append(f"{name} imports {module}; use qgis.PyQt for both Qt 5 and 6")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=DIST, help="folder for the zip")
    parser.add_argument("--release", action="store_true", help="refuse placeholders for addresses")
    for key in ADDRESSES:
        parser.add_argument(f"--{key}", metavar="ADDRESS", help="put into metadata.txt")
    options = parser.parse_args()
    given = {key: getattr(options, key) for key in ADDRESSES if getattr(options, key)}
    data = build(PLUGIN, given)
    found = problems(data, release=options.release)
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    if found:
        return 1
    version = read_metadata((PLUGIN / "metadata.txt").read_text(encoding="utf-8"))["version"]
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / f"{PLUGIN.name}-{version}.zip"
    target.write_bytes(data)
    print(f"{target} ({len(data) / 1024:.0f} KB)")
    if problems(data, release=True):
        print("for development: its addresses are placeholders; to publish it, use --release")
    return 0


if __name__ == "__main__":
    sys.exit(main())
