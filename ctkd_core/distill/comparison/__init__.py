"""Several runs compared: which differ in the seed alone, figures with intervals, differences, ranks, curves, tables."""
