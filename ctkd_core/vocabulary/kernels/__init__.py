"""Compiled loops of the vocabulary maps."""
