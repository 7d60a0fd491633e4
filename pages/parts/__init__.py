"""What pages share: URL state, cached loaders, forms drawn from options, the token component."""
