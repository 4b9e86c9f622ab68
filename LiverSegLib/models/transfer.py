"""How far an installation is, for those who wait for it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from LiverSegLib.errors import InstallCancelled

_TEXTS = {
    "wait": "Waiting for another program that installs the same model",
    "download": "Downloading",
    "check": "Checking",
    "unpack": "Unpacking",
    "prepare": "Preparing the weights",
    "list": "Noting the checksums",
}
_PAUSE_S = 0.1
_WINDOW_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """Where an installation stands.

    Args:
        stage: "wait", "download", "check", "unpack", "prepare" or "list", in this order.
        title: of the model.
        done, total: bytes of the stage; total 0 where nobody knows it.
        seconds_left: estimate for the stage; None until there is one.
    """

    stage: str
    title: str
    done: int = 0
    total: int = 0
    seconds_left: float | None = None

    @property
    def text(self) -> str:
        """One line for a person."""
        count = f": {size_text(self.done)}" if self.done else ""
        count += f" of {size_text(self.total)}" if self.done and self.total else ""
        left = "" if self.seconds_left is None else f", {time_text(self.seconds_left)} left"
        return f"{_TEXTS[self.stage]}{count}{left}"


TransferCallback = Callable[[Transfer], None]


def size_text(count: int) -> str:
    """Bytes for people: "230 MB"."""
    if count < 1_000_000:
        return f"{max(1, round(count / 1000))} kB"
    return f"{count / 1e6:.0f} MB" if count < 1_000_000_000 else f"{count / 1e9:.2f} GB"


def time_text(seconds: float) -> str:
    """Seconds for people: "about 40 s", "about 3 min"."""
    return f"about {max(1, round(seconds))} s" if seconds < 90 else f"about {round(seconds / 60)} min"


class Watch:
    """Reports an installation and raises when the caller wants it to stop.

    Args:
        title: of the model.
        progress: called in the thread that installs, at most ten times a second; None for no reports.
        should_stop: asked often; None for never.
    """

    def __init__(
        self, title: str, progress: TransferCallback | None = None, should_stop: Callable[[], bool] | None = None
    ) -> None:
        self._title, self._progress, self._should_stop = title, progress, should_stop
        self._stage, self._told_at = "", 0.0
        self._seen: deque[tuple[float, int]] = deque()

    def check(self) -> None:
        """Raise `InstallCancelled` if the caller wants to stop."""
        if self._should_stop is not None and self._should_stop():
            raise InstallCancelled(
                f"{self._title} was not installed, as you wished; what came is kept for the next time."
            )

    def report(self, stage: str, done: int = 0, total: int = 0) -> None:
        """Check for a stop, then tell the caller how far the stage is."""
        self.check()
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._told_at = stage, 0.0
            self._seen.clear()
        if not self._seen or now - self._seen[-1][0] >= _PAUSE_S:
            self._seen.append((now, done))
        while now - self._seen[0][0] > _WINDOW_S:
            self._seen.popleft()
        if self._progress is not None and (now - self._told_at >= _PAUSE_S or done == total):
            self._told_at = now
            left = self._left(now, done, total)
            self._progress(Transfer(stage=stage, title=self._title, done=done, total=total, seconds_left=left))

    def counting(self, stage: str, total: int) -> Callable[[int], None]:
        """What reports a stage when it is called with the bytes of each block."""
        done = 0

        def count(block: int) -> None:
            nonlocal done
            done += block
            self.report(stage, done, total)

        self.report(stage, 0, total)
        return count

    def _left(self, now: float, done: int, total: int) -> float | None:
        """By the speed of the last ten seconds."""
        start, before = self._seen[0]
        if done <= before or now - start < 1.0 or not total:
            return None
        return (total - done) * (now - start) / (done - before)
