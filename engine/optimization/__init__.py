"""Optimisers, schedules, regularisation and the hyper-parameters they read."""
