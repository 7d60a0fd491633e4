"""Experiments on which method suits which pair; `python -m experiments` runs them."""
