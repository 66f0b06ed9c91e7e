"""The view of a search: its trials as a table, as curves, and over each parameter."""
