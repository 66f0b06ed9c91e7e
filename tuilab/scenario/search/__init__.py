"""The [search] section of a scenario: its settings, space, samplers, pruners, stop rules."""
