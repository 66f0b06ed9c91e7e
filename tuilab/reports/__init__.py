"""Text and documents for people and machines: run summaries, tables, test reports, info."""
