"""YAML of people and programs, read as plain data within bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import yaml

from LiverSegLib.errors import LiverSegError

# Any recipe is far below; a file beyond them is none, and must not cost minutes to find that out.
_MOST_BYTES = 2**20
_DEEPEST = 40


class YamlError(LiverSegError):
    """A text that is not plain YAML; the sentence says where."""


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases, which can expand without bounds or hold themselves, and not too deep.

    Dates stay the text that they are: recipes have versions and names, but no dates.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            self._refuse("aliases (*name) are not allowed")
        self._depth += 1
        if self._depth > _DEEPEST:
            self._refuse(f"lists and keys lie more than {_DEEPEST} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refuse(self, problem: str) -> NoReturn:
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]


def _text(loader: _Loader, node: yaml.Node) -> str:
    return str(loader.construct_yaml_str(node))


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _text)


def parse_yaml(text: str) -> Any:
    """The data of a YAML text.

    Raises:
        YamlError: no YAML, too large, or with aliases; one line.
    """
    if len(text) > _MOST_BYTES:
        raise YamlError(f"it has more than {_MOST_BYTES // 2**20} MB of text")
    loader = None
    try:
        loader = _Loader(text)
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlError(f"{where}{error.problem or error.context or 'not YAML'}") from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise YamlError(" ".join(str(error).split())[:200] or type(error).__name__) from error
    finally:
        if loader is not None:
            loader.dispose()


def read_yaml(path: Path) -> Any:
    """The data of a YAML file.

    Raises:
        FileNotFoundError: it is not there.
        YamlError: it cannot be read or holds no plain YAML; one line.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        return parse_yaml(content.decode("utf-8"))
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise YamlError("it is no text in UTF-8") from error
    except OSError as error:
        raise YamlError(error.strerror or str(error)) from error
