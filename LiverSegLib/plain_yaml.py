"""YAML of people and programs, read as plain data within bounds.

It needs PyYAML, which not every place that LiverSeg runs in has: import it where a text is to be read.
"""

from __future__ import annotations

from typing import Any, NoReturn

import yaml

from LiverSegLib.errors import LiverSegError

# Any recipe or configuration is far below; a file beyond them is none, and must not cost minutes to find that out.
MOST_BYTES = 2**20
_DEEPEST = 40


class YamlError(LiverSegError):
    """A text that is not plain YAML; the sentence says where."""


class _Loader(yaml.SafeLoader):
    """Safe YAML without aliases, which can expand without bounds or hold themselves, and not too deep.

    Dates stay the text that they are: there are versions and names in what we read, but no dates.
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
    if len(text) > MOST_BYTES:
        raise YamlError(f"it has more than {MOST_BYTES // 2**20} MB of text")
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
