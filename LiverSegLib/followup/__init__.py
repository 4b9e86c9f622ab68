"""Two scans of one patient: livers brought together, lesions matched, and what has become of each."""

from LiverSegLib.followup.changes import Comparison, compare
from LiverSegLib.followup.parts import TimePoint

__all__ = ["Comparison", "TimePoint", "compare"]
