"""Packages whose labels mean something else."""

from __future__ import annotations

import json
from pathlib import Path


def rename(package: Path, names: dict[str, str]) -> None:
    """Give the labels of a package folder other names, by their values; its checksums are dropped."""
    path = package / "configs" / "metadata.json"
    data = json.loads(path.read_text())
    data["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "background", **names}
    path.write_text(json.dumps(data))
    (package / "checksums.sha256").unlink()
