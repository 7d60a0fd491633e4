"""A run's config for other trainers: what they call its options, and where they can't do the same."""
