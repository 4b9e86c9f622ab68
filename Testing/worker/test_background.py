"""Work in the background lets others go first, and leaves the rest of the process as it was."""

from __future__ import annotations

import os
import sys
import threading

import pytest

from LiverSegLib.worker.background import in_background


def test_what_it_gives_and_raises_comes_back() -> None:
    assert in_background(lambda: 7) == 7
    with pytest.raises(ValueError, match="no"):
        in_background(lambda: int("no"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of single threads")
def test_only_its_own_thread_waits_for_others() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = niceness()
    assert in_background(niceness) == min(before + 5, 19)
    assert niceness() == before
