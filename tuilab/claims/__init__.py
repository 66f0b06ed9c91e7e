"""Metrics, expressions and expectations: what a scenario claims and how it is judged."""
