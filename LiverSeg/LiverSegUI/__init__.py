"""Parts of the LiverSeg module that need Qt.

They are a sub-package because Slicer takes any file beside `LiverSeg.py` for a module of its own. All of it is
written in the subset that PythonQt (in Slicer) and PySide6 (in the tests) share: methods instead of properties,
`property("name")` to read, `setProperty("name", value)` where a property has no setter.
"""
