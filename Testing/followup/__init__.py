"""Tests of `LiverSegLib/followup`."""
