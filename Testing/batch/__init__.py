"""Tests of `LiverSegLib/batch`."""
