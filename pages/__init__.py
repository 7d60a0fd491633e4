"""Pages of the browser app; app.py routes to them."""
