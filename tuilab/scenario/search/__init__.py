"""The [search] section of a scenario: settings, space, samplers, pruners, stop rules."""
