"""Runs and test results as plain text."""
