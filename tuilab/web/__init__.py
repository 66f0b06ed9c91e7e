"""`tuilab serve`: the view in a browser."""
