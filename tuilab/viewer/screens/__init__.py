"""Screens above the dashboard: one layer, findings, dialogs, the scenario picker."""
