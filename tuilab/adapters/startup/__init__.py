"""A folder for PYTHONPATH: what an interpreter runs before a program that is to be watched."""
