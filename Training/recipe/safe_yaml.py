"""YAML files of people and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from LiverSegLib.plain_yaml import MOST_BYTES, YamlError, parse_yaml

__all__ = ["YamlError", "parse_yaml", "read_yaml"]


def read_yaml(path: Path) -> Any:
    """The data of a YAML file.

    Raises:
        FileNotFoundError: it is not there.
        YamlError: it cannot be read or holds no plain YAML; one line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        return parse_yaml(content.decode("utf-8"))
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise YamlError("it is no text in UTF-8") from error
    except OSError as error:
        raise YamlError(error.strerror or str(error)) from error
