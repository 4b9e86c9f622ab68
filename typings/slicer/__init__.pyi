"""What the extension uses of 3D Slicer's Python package, which has no type stubs.

The MRML classes are wrapped C++: their names are held to a running Slicer by Testing/module/test_module_names.py
and to slicer-core by the tests that run on it, so here they stay `Any`.
"""

from typing import Any

from slicer import util as util

app: Any
modules: Any
mrmlScene: Any

def __getattr__(name: str) -> Any: ...
