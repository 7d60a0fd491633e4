"""The rows of the table, a file a family: each file has ROWS, a tuple of methods in the order of the table."""
