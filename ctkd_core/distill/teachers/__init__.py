"""Teachers that aren't asked in the step: rows that a cache keeps, or that a server tells."""
