"""Compiled loops of the aligners; an obvious twin of each lies with the tests."""
