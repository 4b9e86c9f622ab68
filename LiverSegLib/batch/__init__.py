"""Thousands of scans: real processes that may die, a journal to go on from, one table and one page of all.

This room knows nothing of models. It is told the command line of a process that segments, and hands cases to several
of them; what comes back is written down at once, so that the run may end at any moment and go on later.
"""
