"""The report of a case: one page to read, to print and to keep. matplotlib is imported only when one is written."""

from LiverSegLib.report.case_report import write_case_report

__all__ = ["write_case_report"]
