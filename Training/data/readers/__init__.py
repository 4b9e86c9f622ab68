"""Raw cases of every kind of source: what lies where, read one at a time."""

from Training.data.readers.case import Entry, Listing, RawCase
from Training.data.readers.listing import list_cases, survey
from Training.data.readers.prepared import Case, count_prepared, load_index, prepared_cases
from Training.errors import DataError

__all__ = [
    "Case",
    "DataError",
    "Entry",
    "Listing",
    "RawCase",
    "count_prepared",
    "list_cases",
    "load_index",
    "prepared_cases",
    "survey",
]
