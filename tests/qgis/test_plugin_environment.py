"""The child's variables: the user's, without QGIS's."""

from __future__ import annotations

import pytest
from nirgeo_qgis.environment import child_environment, with_own_libraries


@pytest.mark.parametrize(
    "name",
    [
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PROJ_LIB",
        "PROJ_DATA",
        "PROJ_NETWORK",
        "GDAL_DATA",
        "GDAL_DRIVER_PATH",
        "LD_LIBRARY_PATH",
        "DYLD_LIBRARY_PATH",
        "DYLD_FALLBACK_LIBRARY_PATH",
    ],
)
def test_what_belongs_to_qgis_is_left_out(name: str) -> None:
    assert child_environment({name: "/x", "HOME": "/home/me"}) == {"HOME": "/home/me"}


def test_what_belongs_to_the_user_stays() -> None:
    own = {"PATH": "/usr/bin", "HTTPS_PROXY": "http://proxy", "AWS_PROFILE": "me", "TMPDIR": "/t"}
    assert child_environment(own, ["/usr", "/opt/qgis"]) == own


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
def test_only_certificates_inside_qgis_are_left_out(name: str) -> None:
    roots = ["/Applications/QGIS.app"]
    inside = {name: "/Applications/QGIS.app/Contents/Resources/certs/certs.pem"}
    company = {name: "/Library/Company/ca.pem"}
    neighbour = {name: "/Applications/QGIS.app.backup/certs.pem"}
    assert child_environment(inside, roots) == {}
    assert child_environment(company, roots) == company
    assert child_environment(neighbour, roots) == neighbour


def test_the_systems_own_folders_are_not_taken_for_qgis() -> None:
    own = {"SSL_CERT_FILE": "/usr/share/ca-certificates/company.pem"}
    assert child_environment(own, ["/usr", "/", ""]) == own


def test_on_windows_the_entries_of_qgis_leave_the_path() -> None:
    environ = {
        "Path": r"C:\OSGeo4W\bin;C:\osgeo4w\apps\qgis-ltr\bin;C:\Windows\system32;C:\OSGeo4Wish",
        "PythonHome": r"C:\OSGeo4W\apps\Python312",
        "Ssl_Cert_File": "C:/OSGeo4W/bin/curl-ca-bundle.crt",
        "OSGEO4W_ROOT": r"C:\OSGeo4W",
    }
    assert child_environment(environ, [r"C:\OSGeo4W"], windows=True) == {
        "Path": r"C:\Windows\system32;C:\OSGeo4Wish",
        "OSGEO4W_ROOT": r"C:\OSGeo4W",
    }


def test_on_windows_the_environments_own_libraries_come_first() -> None:
    environ = with_own_libraries({"Path": r"C:\Windows"}, r"C:\envs\nirgeo")
    entries = environ["Path"].split(";")
    assert entries[0] == r"C:\envs\nirgeo"
    assert r"C:\envs\nirgeo\Library\bin" in entries
    assert entries[-1] == r"C:\Windows"
