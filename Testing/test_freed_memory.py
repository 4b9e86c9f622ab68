"""What a process does with memory that it has freed, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc alone is told what to do")

_BEGIN = """
import numpy as np
from LiverSegLib import freed_memory
from LiverSegLib.system import resident_bytes

def size():
    return resident_bytes() / 2**20

def holes():
    # A quarter of a gigabyte in pieces too small to be given back by themselves, and between them what stays.
    pieces = [np.ones(2**14) for _ in range(2048)]
    return [np.ones(8) if number % 2 else piece for number, piece in enumerate(pieces)], pieces
"""


def told(program: str) -> list[float]:
    """The numbers that a program prints, in MB."""
    done = subprocess.run([sys.executable, "-c", _BEGIN + program], capture_output=True, text=True, check=True)
    return [float(line) for line in done.stdout.split()]


def test_what_lies_free_between_what_is_used_is_given_back() -> None:
    before, kept, left = told(
        "stay, pieces = holes(); print(size()); del pieces; print(size())\nfreed_memory.give_back(); print(size())"
    )
    assert before - kept < 20
    assert kept - left > 100


def test_a_large_array_is_kept_only_where_that_was_asked_for() -> None:
    one = "x = np.ones(2**24); print(size()); del x; print(size())"
    for program, is_kept in ((one, False), ("freed_memory.keep(); " + one, True)):
        there, after = told(program)
        assert (there - after < 20) == is_kept
    there, after, given_back = told(f"freed_memory.keep(); {one}; freed_memory.give_back(); print(size())")
    assert after - given_back > 100


def test_training_keeps_it() -> None:
    program = """
import sys
from Training import __main__ as training
asked = []
training.freed_memory.keep = lambda: asked.append(1)
sys.argv = ["Training", "train", "no_such_recipe", "--data", "x", "--run", "y"]
try:
    training.main()
except SystemExit:
    print(len(asked))
"""
    assert told(program) == [1]
