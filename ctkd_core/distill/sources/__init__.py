"""Where training data comes from besides files: the sets that come along, and data sets of the hub."""
