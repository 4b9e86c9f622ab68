"""`python -m LiverSegLib.cli`: the same as `liverseg`."""

from LiverSegLib.cli import main

main()
