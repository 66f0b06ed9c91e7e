"""The rules of the diagnosis, one family a file; a new file is discovered by its registry."""
