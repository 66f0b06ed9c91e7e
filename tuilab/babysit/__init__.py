"""`tuilab check`: the lecture's babysitting sequence on a scenario's own network and data.

Lecture 6, "babysitting the learning process". A check is a file here: a pure function from a
Subject (scenario, data, back-end) to a CheckResult, listed in order in `sequence` and printed by
`report`. Nothing is recorded: trainers live only in this process.
"""
