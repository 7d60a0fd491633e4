"""Slips of released programs, reproduced for comparison; nothing here is used by the clean methods."""
