"""Analyses: experiments that are no table of runs."""
