"""Scenario files: from TOML to engine objects. Trains nothing, and opens no run.

    file_format     the sections of a file as typed structs
    scenario        a validated scenario, and a file of several variants
    parsing         TOML tables → Scenario
    loading         files → Scenario, ScenarioFile
    building        Scenario → data set, network, trainer

    layer_tables    [[layer]]
    variants        [[variant]]: what each run of a comparison changes
    overrides       how `--set` and variants change a table
    search          [search]: space, samplers, pruners, stop rules

    catalog         the scenarios at hand, by chapter of the lecture
    schema          the format as JSON Schema
    template        the file that `tuilab new` writes

Nothing is imported here: `catalog` and `template` must not load NumPy.
"""
