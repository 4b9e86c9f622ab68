"""The part of the 3D Slicer application that the module needs, for tests without the application.

MRML, VTK and Qt are the real ones; stand-ins exist only for classes of the application itself.
"""
