"""Hyper-parameter search as in the lecture: coarse to fine, in log space, at random.

A trial is a normal run in a folder of its own. Trials are recorded in an Optuna study, one per
stage, in a file beside the runs or on a server that several machines share. The settings ([search]
of a scenario file) are in `tuilab.scenario.search`.

    launch          opens folder, storage and pool, and runs the search, here or in the background
    folder          the files of a search
    search_loop     ask for a point, start its run, follow it, report; stage after stage
    points          a point of the space → the scenario that is trained
    trial           one run, followed while it trains, and stopped early where a rule says so
    pools, cluster  where trials run: processes on this machine, or a Dask cluster
    storage         Optuna's storage, and the study of each stage in it
    stage_study     one study: asking, reporting, heartbeats, lost trials
    narrowing       the next range around the best trials; best values at the edge of a range
    results         rows, ranks, JSON, CSV
    study_reader    reads a search while it runs
    report          the output for people: progress, tables, the best scenario
    extras          optional packages
"""
