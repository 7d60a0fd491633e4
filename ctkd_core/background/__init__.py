"""Work in processes of its own: how it is started, watched, cancelled and resumed."""
