"""Scenario files: format, overrides, variants, schema and catalogue. Trains nothing."""
