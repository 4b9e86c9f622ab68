"""Fuzzers: damaged and hostile files by the thousand, each of which must end in a result or in one sentence.

`python -m Testing.fuzz images --seed 1 --count 2000`; the same seed gives the same cases. A target is a module
beside this file with two functions, `case` and `run`; `harness` says what they do.
"""
