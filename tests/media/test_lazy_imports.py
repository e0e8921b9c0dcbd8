"""The late imports: not made by the start, and complete after `load`."""

from __future__ import annotations

import subprocess
import sys

import pytest

from audiosocket.media.lazy_imports import load, stream_converter
from audiosocket.media.resample import StreamConverter
from tests.support.server_process import ROOT

PROGRAM = """
import sys
import {modules}
late = {{"numpy", "soxr"}}
assert not late & set(sys.modules), late & set(sys.modules)
from audiosocket.media import lazy_imports as lateload
lateload.load()
assert late <= set(sys.modules)
"""


def test_the_start_does_not_import_them_and_load_does() -> None:
    program = PROGRAM.format(modules="twisted.scripts.twistd, audiosocket.tap")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_converter_is_a_stream_converter() -> None:
    load()
    made = stream_converter(8_000, 16_000)
    assert type(made) is StreamConverter
    assert (made.source, made.target) == (8_000, 16_000)
    with pytest.raises(ValueError, match="7919"):
        stream_converter(7919, 192_000)
