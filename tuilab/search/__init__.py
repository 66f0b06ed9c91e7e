"""Hyper-parameter search as the lecture does it: coarse to fine, in log space, at random.

A trial is a normal run in a folder of its own. What was tried stands in an Optuna study, one for
each stage, in a file beside the runs or on a server that several machines share.

    settings   [search] of a scenario file, with families of its own:
               space (ranges), samplers, pruners, stop_rules
    points     a point of the space → the scenario that is trained there
    storage    Optuna's storage, and the study of each stage in it
    stage_study
               asking, telling, heartbeats, lost trials
    trial      one run, followed while it trains: reports, and when to give it up
    local, cluster
               where trials run: processes here, or a Dask cluster
    conductor  the loop: ask, start, follow, tell, stage after stage
    narrowing  the next range from the best trials; values at the edge of theirs
    results    rows, ranks, tables, JSON, CSV, the best scenario
"""
