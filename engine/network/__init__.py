"""A network of layers bound to its parameters; what theory expects of it."""
