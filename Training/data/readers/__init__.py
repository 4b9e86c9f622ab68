"""Raw cases of every kind of source: what lies where, read one at a time."""

from Training.data.readers.case import Entry, Listing, RawCase
from Training.data.readers.listing import list_cases, survey
from Training.data.readers.prepared import Case, load_index, prepared_cases

__all__ = ["Case", "Entry", "Listing", "RawCase", "list_cases", "load_index", "prepared_cases", "survey"]
