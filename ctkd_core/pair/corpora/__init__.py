"""Corpora of any size: pieces that are counted on their own, sums that add up exactly, and who does the counting."""
