"""Buckets of probabilities by their leading bits, in which sorted rows are compared without sorting them.

sum_i |p_(i) - q_(i)|, (i) = i-th largest, is sum_e sign(e) * e over all entries of both rows, where sign(e) says
whether e or the entry of the same rank on the other side is larger. Nearly all entries of a bucket stand at ranks
where the other side's entries lie in a higher, or in a lower, bucket, and that is all the sign needs. Only where both
rows have entries of the same ranks in one bucket (it is open) are these sorted. A row that is compared with nearly
itself has only open buckets; then a plain sort is faster.
"""

from __future__ import annotations

SHIFT = 17  # bits of a float32 that a bucket doesn't tell apart: 64 buckets from one power of two to the next
ROUND_UP = (1 << SHIFT) - 1  # the bucket of bits b is (b + ROUND_UP) >> SHIFT, so that zeros have one of their own
# 1.0 (0x3F800000) is in the last bucket but one, and what rounding puts above it in the last.
BUCKETS = ((0x3F800000 + ROUND_UP) >> SHIFT) + 2
OPEN = 2  # in a table of signs: entries of the bucket have several
FEWEST = 16_384  # entries of both rows together, below which sorting is faster than looking through the buckets
MOST_OPEN = 8  # where more than one in so many entries is in an open bucket, sorting is faster, too
