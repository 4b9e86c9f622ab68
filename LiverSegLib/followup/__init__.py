"""Two scans of one patient: livers brought together, lesions matched, and what has become of each."""

from LiverSegLib.followup.compare import Comparison, TimePoint, compare

__all__ = ["Comparison", "TimePoint", "compare"]
