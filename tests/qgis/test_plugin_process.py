"""The child process: lines, cancellation, and no child left behind."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nirgeo_qgis.process import Ended, run_child
from plugin_helpers import is_alive, is_gone_within, pid_in

pytestmark = pytest.mark.skipif(os.name != "posix", reason="uses signals and process groups")

AT_WORK = (
    "import os, pathlib, signal, sys, time\n"
    "pathlib.Path(sys.argv[1]).write_text(f'{os.getpid()}\\n')\n"
)
"""Code of a child that says that it has begun."""


def run(code: str, *arguments: object, **options: object) -> tuple[Ended, list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []
    ended = run_child(
        [sys.executable, "-I", "-c", code, *map(str, arguments)],
        dict(os.environ),
        on_line=lambda stream, text: lines.append((stream, text)),
        **options,  # type: ignore[arg-type]
    )
    return ended, lines


def when_at_work(pid_file: Path) -> Callable[[], bool]:
    """Cancels as soon as the child has written its number."""
    return lambda: pid_file.exists() and pid_file.read_text().endswith("\n")


def test_lines_of_both_streams_arrive_in_order_and_without_their_ends() -> None:
    code = "import sys\nfor i in range(3): print(i); print('e', i, file=sys.stderr)"
    ended, lines = run(code)
    assert ended == Ended(0)
    assert [t for s, t in lines if s == "stdout"] == ["0", "1", "2"]
    assert [t for s, t in lines if s == "stderr"] == ["e 0", "e 1", "e 2"]


def test_lines_arrive_while_the_child_still_runs() -> None:
    arrived: list[float] = []
    run_child(
        [sys.executable, "-I", "-c", "import time; print(1, flush=True); time.sleep(1)"],
        dict(os.environ),
        on_line=lambda stream, text: arrived.append(time.monotonic()),
    )
    assert time.monotonic() - arrived[0] > 0.7


def test_callbacks_come_in_the_callers_thread() -> None:
    threads = set()
    run_child(
        [sys.executable, "-I", "-c", "import sys; print(1); print(2, file=sys.stderr)"],
        dict(os.environ),
        on_line=lambda stream, text: threads.add(threading.current_thread()),
    )
    assert threads == {threading.current_thread()}


def test_a_full_pipe_on_one_stream_does_not_stop_the_other() -> None:
    code = "import sys\nfor i in range(2000): sys.stderr.write('x' * 500 + '\\n')\nprint('done')\n"
    ended, lines = run(code, timeout=60)
    assert ended == Ended(0)
    assert len(lines) == 2001
    assert ("stdout", "done") in lines


def test_a_last_line_without_an_end_and_broken_text_arrive() -> None:
    code = "import sys; sys.stdout.buffer.write(b'caf\\xe9')"
    _, lines = run(code)
    assert lines == [("stdout", "caf�")]


def test_the_exit_code_is_passed_on() -> None:
    assert run("raise SystemExit(7)")[0] == Ended(7)


def test_a_missing_executable_is_an_error_of_the_system() -> None:
    with pytest.raises(FileNotFoundError):
        run_child(["/nowhere/python"], {}, on_line=lambda stream, text: None)


def test_cancelling_ends_a_silent_child_at_once(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    started = time.monotonic()
    ended, _ = run(AT_WORK + "time.sleep(60)", pid_file, is_cancelled=when_at_work(pid_file))
    assert ended.cancelled
    assert time.monotonic() - started < 5
    assert not is_alive(pid_in(pid_file))


def test_a_child_that_cleans_up_on_sigterm_has_the_time_to(tmp_path: Path) -> None:
    pid_file, traces = tmp_path / "pid", tmp_path / "traces"
    code = (
        "import pathlib, signal, sys, time\n"
        "traces = pathlib.Path(sys.argv[2]); traces.write_text('')\n"
        "def clean(*_): time.sleep(0.5); traces.unlink(); sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, clean)\n"
    )
    ended, _ = run(
        code + AT_WORK + "time.sleep(60)",
        pid_file,
        traces,
        is_cancelled=when_at_work(pid_file),
    )
    assert ended == Ended(143, cancelled=True)
    assert not traces.exists()


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + AT_WORK
    started = time.monotonic()
    ended, _ = run(
        code + "time.sleep(60)", pid_file, is_cancelled=when_at_work(pid_file), grace=0.5
    )
    assert ended == Ended(-9, cancelled=True)
    assert time.monotonic() - started < 10
    assert not is_alive(pid_in(pid_file))


def test_what_a_wrapper_script_started_is_ended_with_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    wrapper = (
        "import subprocess, sys\n"
        "subprocess.run([sys.executable, '-I', '-c', sys.argv[2], sys.argv[1]])\n"
    )
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + AT_WORK
    run(
        wrapper,
        pid_file,
        stubborn + "time.sleep(60)",
        is_cancelled=when_at_work(pid_file),
        grace=0.5,
    )
    assert is_gone_within(pid_in(pid_file), 2)


def test_a_child_that_takes_too_long_is_stopped() -> None:
    ended, _ = run("import time; time.sleep(60)", timeout=0.3)
    assert ended.timed_out
    assert not ended.cancelled


def test_an_error_in_a_callback_leaves_no_child(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = AT_WORK + "print(1, flush=True); time.sleep(60)"

    def fail(stream: str, text: str) -> None:
        raise RuntimeError("in the callback")

    with pytest.raises(RuntimeError, match="in the callback"):
        run_child(
            [sys.executable, "-I", "-c", code, pid_file],
            dict(os.environ),
            on_line=fail,
        )
    assert not is_alive(pid_in(pid_file))


def test_a_grandchild_that_keeps_the_pipes_open_is_not_waited_for(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-I', '-c', sys.argv[2], sys.argv[1]])\n"
        "print('ended')\n"
    )
    started = time.monotonic()
    ended, lines = run(code, pid_file, AT_WORK + "time.sleep(20)")
    try:
        assert ended == Ended(0)
        assert lines == [("stdout", "ended")]
        assert time.monotonic() - started < 10
    finally:
        os.kill(pid_in(pid_file), 9)


def test_stdin_is_empty() -> None:
    assert run("import sys; print(len(sys.stdin.read()))")[1] == [("stdout", "0")]
