#!/bin/sh
# Test the plugin in a real QGIS: installs it where that is possible, else says why not and ends
# well. Needs a Python with nirgeo: .venv (made by `make test`), or the one in NIRGEO_PYTHON.
# Arguments go to pytest.
set -eu
cd "$(dirname "$0")/.."

skip() {
    echo "make test-qgis: skipped, $1"
    exit 0
}

# QGIS's bindings belong to the system's Python, whatever comes first on the PATH.
system_python=/usr/bin/python3
packages="qgis python3-qgis python3-venv"

has_qgis() {
    { command -v qgis_process.bin || command -v qgis_process; } >/dev/null 2>&1 &&
        "$system_python" -c 'import qgis.core, venv, ensurepip' >/dev/null 2>&1
}

if ! has_qgis; then
    command -v apt-get >/dev/null 2>&1 ||
        skip "there is no QGIS here, and no apt-get to install it with"
    [ "$(id -u)" -eq 0 ] ||
        skip "there is no QGIS here, and only root may install it: apt-get install $packages"
    echo "installing QGIS (about two minutes)"
    log=$(mktemp)
    # shellcheck disable=SC2086 # one word per package
    { apt-get update &&
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } \
        >"$log" 2>&1 || {
        tail -n 5 "$log"
        skip "apt-get could not install QGIS"
    }
    rm -f "$log"
    has_qgis || skip "the QGIS that apt-get installed can't be used from Python"
fi

NIRGEO_PYTHON=${NIRGEO_PYTHON:-$PWD/.venv/bin/python}
export NIRGEO_PYTHON
if ! "$NIRGEO_PYTHON" -I -m nirgeo --version >/dev/null 2>&1; then
    echo "make test-qgis: nirgeo does not run in $NIRGEO_PYTHON; run make test first" >&2
    exit 1
fi

# An environment of its own: with the system's packages visible, pip would take Debian's numpy for
# the library's. build/ is ignored by git.
environment=build/qgis-venv
if ! "$environment/bin/python" -c 'import pytest, pytest_qgis, pytest_timeout' 2>/dev/null; then
    rm -rf "$environment"
    "$system_python" -m venv --system-site-packages "$environment"
    # pytest-qgis 2.1 runs with pytest 8; 5.0 is what the tests were written with
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
        'pytest>=8' 'pytest-qgis>=2.1' 'pytest-timeout>=2.3' ||
        skip "pytest-qgis could not be installed"
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 700 "$scratch" # or Qt complains about it

XDG_RUNTIME_DIR=$scratch QT_QPA_PLATFORM=offscreen QGIS_CUSTOM_CONFIG_PATH=$scratch/configuration \
    "$environment/bin/python" -m pytest -c qgis_plugin/pytest-in-qgis.ini --rootdir=. \
    --confcutdir=tests/qgis tests/qgis "$@"
