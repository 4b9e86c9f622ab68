"""Addresses from which models may be fetched."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from LiverSegLib.errors import ModelError
from LiverSegLib.models.text import one_line

_LOCAL = ("localhost", "127.0.0.1", "::1")


def check_address(url: str) -> None:
    """Refuse an address that is not https, nor http on this very computer.

    Raises:
        ModelError: as said.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL)
        known &= bool(parts.hostname) and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        known = False
    if not known or not re.fullmatch(r"[!-~]{1,2000}", url):
        raise ModelError(
            f"{one_line(url, 200)} is no address that models are fetched from; it must begin with https://."
        )
