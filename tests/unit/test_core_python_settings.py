"""Settings of a Python file are read, and never run."""

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.errors import ConfigurationError
from maintenance.core.python_settings import python_settings, read_python_settings

GUIDE = """
import multiprocessing

workers = multiprocessing.cpu_count() * 2 + 1
worker_class = 'gthread'
threads = 4
preload_app = True
"""


def test_the_guides_file_is_read_for_a_machine():
    settings = python_settings(GUIDE, cpu_count=4)
    assert settings.values == {
        "workers": 9,
        "worker_class": "gthread",
        "threads": 4,
        "preload_app": True,
    }
    assert settings.counts_cpus == {"workers"}


def test_without_a_number_of_processors_what_counts_them_is_unknown():
    settings = python_settings(GUIDE, cpu_count=None)
    assert settings.unknown == {"workers": "counts the processors of its machine"}
    assert "workers" not in settings.values


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import os\nx = int(os.environ.get('X', 4))", "environment"),
        ("x = 1\nif debug:\n    x = 2", "condition"),
        ("for x in range(3):\n    x = 1", "block"),
        ("y = f()\nx = y + 1", "follows y, which is computed (f())"),
        ("x = other", "not in this file"),
        ("x, y = 1, 2", "together"),
        ("x = 10 ** 9", "is computed"),
        ("x = 9 * 10000000000000000", "larger than any setting"),
        ("x = 'a' * 1000000000", "repeats a text"),
        ("x = 1 // 0", "cannot be computed"),
        ("x = __import__('os').system('true')", "is computed"),
        ("x = min()", "cannot be computed"),
    ],
)
def test_what_only_running_it_would_tell_is_unknown_with_the_reason(source, reason):
    settings = python_settings(source, cpu_count=2)
    assert "x" not in settings.values
    assert reason in settings.unknown["x"]


def test_a_later_assignment_replaces_an_earlier_one():
    assert python_settings("x = f()\nx = 3\nx += 2", None).values == {"x": 5}
    assert python_settings("x = 3\nx = f()", None).values == {}


def test_settings_of_a_celery_application_are_read():
    source = (
        "app.conf.worker_concurrency = 4\napp.conf.update(task_acks_late=True)\napp.conf['x'] = 1"
    )
    assert python_settings(source, None).values == {
        "worker_concurrency": 4,
        "task_acks_late": True,
        "x": 1,
    }


def test_nothing_of_the_file_is_run(tmp_path: Path):
    trace = tmp_path / "ran"
    file = tmp_path / "gunicorn.conf.py"
    file.write_text(f"open({str(trace)!r}, 'w')\nworkers = open({str(trace)!r}, 'w') or 3\n")
    assert "workers" in read_python_settings(file, 2).unknown
    assert not trace.exists()


@pytest.mark.parametrize("content", [b"workers = (", b"\xff\xfe\x00", b"x = 1\x00"])
def test_what_is_no_python_file_is_said(tmp_path: Path, content: bytes):
    file = tmp_path / "broken.py"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="no Python file that can be read"):
        read_python_settings(file, 2)


@given(
    st.dictionaries(
        st.sampled_from(string.ascii_lowercase),
        st.integers(-999, 999) | st.booleans() | st.text(max_size=9),
    )
)
def test_constants_come_back_as_they_are(values):
    source = "\n".join(f"{name} = {value!r}" for name, value in values.items())
    assert python_settings(source, None).values == values
