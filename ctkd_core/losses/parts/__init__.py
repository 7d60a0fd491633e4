"""Parts that several losses are built from."""
