"""Slips of released programs, reproduced for comparison."""
