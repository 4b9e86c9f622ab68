from typing import Any, TypeVar

_C = TypeVar("_C")

def parameterNodeWrapper(cls: type[_C]) -> Any: ...
