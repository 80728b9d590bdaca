"""Take the pictures of docs/qgis.md: the plugin at work in a QGIS that nobody sees.

    make qgis-pictures          # or: .venv/bin/python qgis_plugin/make_pictures.py [FOLDER]

Needs QGIS, Xvfb and nirgeo's own environment. The scene is that of examples/sample_scene.py. QGIS
starts with a profile of its own and runs ``picture_session.py``, which does what a user would.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
MAPS = ("qgis", "qgis-evaluate")
"""Pictures with more colours than a small PNG has."""
PATIENCE = 300
"""Seconds until a session that hangs is ended."""

SETTINGS = """\
[PythonPlugins]
nirgeo_qgis=true
processing=true

[locale]
overrideFlag=true
userLocale=en_US

[qgis]
checkVersion=false
enablePythonScripting=true
showTips=false
"""


def make_profile(folder: Path) -> Path:
    """A profile with the plugin as it is in this checkout; returns the folder that QGIS is told."""
    default = folder / "profiles" / "default"
    plugins = default / "python" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "nirgeo_qgis").symlink_to(HERE / "nirgeo_qgis", target_is_directory=True)
    (default / "QGIS").mkdir()
    (default / "QGIS" / "QGIS3.ini").write_text(SETTINGS, encoding="utf-8")
    return folder


def main() -> None:
    out = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "images").resolve()
    # QGIS itself does not start on Qt's offscreen platform.
    qgis, xvfb = shutil.which("qgis"), shutil.which("xvfb-run")
    if qgis is None or xvfb is None:
        sys.exit("needs QGIS and a display that nobody sees: apt-get install qgis xvfb xauth")
    with TemporaryDirectory() as name:
        folder = Path(name)
        scenes, run = folder / "scenes", folder / "run"
        scenes.mkdir()
        run.mkdir(mode=0o700)  # or Qt complains about it
        subprocess.run(
            [sys.executable, ROOT / "examples" / "sample_scene.py"], cwd=scenes, check=True
        )
        profile = make_profile(folder / "configuration")
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "QGIS"))}
        done = subprocess.run(
            [xvfb, "-a", "-s", "-screen 0 1600x1200x24", qgis, "--nologo", "--noversioncheck",
             "--profiles-path", profile, "--code", HERE / "picture_session.py"],
            env={
                **outside,
                "HOME": str(folder),
                "NIRGEO_PICTURES": str(out),
                "NIRGEO_PYTHON": sys.executable,
                "NIRGEO_SCENES": str(scenes),
                "QT_QPA_PLATFORM": "xcb",
                "XDG_RUNTIME_DIR": str(run),
            },
            timeout=PATIENCE,
            capture_output=True,
            text=True,
        )  # fmt: skip
        problem = folder / "scenes" / "problem.txt"
        if problem.exists() or done.returncode != 0:
            told = problem.read_text(encoding="utf-8") if problem.exists() else done.stderr
            sys.exit(f"the session in QGIS failed:\n{told[-4000:]}")
    for picture in MAPS:
        with Image.open(out / f"{picture}.png") as image:
            image.convert("RGB").save(
                out / f"{picture}.jpg", quality=90, subsampling=0, optimize=True
            )
        (out / f"{picture}.png").unlink()


if __name__ == "__main__":
    main()
