"""Packages of MONAI whose `__init__` waits: a name that is asked of one imports the module that it comes from alone.

`import monai` runs four hundred modules and all that these need: seconds and 70 MB for a network of four. The
`__init__` of a package is read for where its names come from, and run only where a name is asked for that it makes
itself.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_TOP = "monai"


class DeferredPackages(MetaPathFinder):
    """Finds the packages of MONAI, for `sys.meta_path`; modules in them are imported as ever."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The package with a loader that does not run it; None for everything else."""
        if fullname.split(".")[0] != _TOP:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.submodule_search_locations is None or spec.loader is None or spec.origin is None:
            return None
        spec.loader = _Waiting(spec.loader, Path(spec.origin))
        return spec


class _Waiting(Loader):
    def __init__(self, real: Loader, source: Path) -> None:
        self._real, self._source = real, source

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Package(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["_deferred"] = _Names(self._real, self._source)


class _Names:
    """Where the names of a package come from, by its source."""

    def __init__(self, real: Loader, source: Path) -> None:
        self._real = real
        self.imported: dict[str, tuple[str, str]] = {}
        self.made: set[str] = set()
        self._has_run = False
        for statement in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.ImportFrom) and statement.level == 1 and statement.module:
                for alias in statement.names:
                    self.imported[alias.asname or alias.name] = (statement.module, alias.name)
            elif isinstance(statement, ast.FunctionDef | ast.ClassDef):
                self.made.add(statement.name)
            elif isinstance(statement, ast.Assign | ast.AnnAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                self.made |= {target.id for target in targets if isinstance(target, ast.Name)}

    def run(self, module: ModuleType) -> None:
        """Run the package's own `__init__`, once."""
        if not self._has_run:
            self._has_run = True
            self._real.exec_module(module)


class _Package(ModuleType):
    def __getattr__(self, name: str) -> Any:
        names: _Names | None = self.__dict__.get("_deferred")
        if names is not None and name in names.imported:
            home, original = names.imported[name]
            value = getattr(importlib.import_module(f"{self.__name__}.{home}"), original)
            setattr(self, name, value)
            return value
        if names is not None and name in names.made:
            names.run(self)
            if name in self.__dict__:
                return self.__dict__[name]
        inner = f"{self.__name__}.{name}"
        if not name.startswith("__") and importlib.util.find_spec(inner) is not None:
            return importlib.import_module(inner)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
