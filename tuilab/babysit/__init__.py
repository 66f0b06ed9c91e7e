"""`tuilab check`: the lecture's babysitting sequence on a scenario's own network and data.

Lecture 6, "babysitting the learning process". Each step is a file here: a pure function from a
Subject (scenario, data, back-end) to a Check, listed in order in `sequence`. What they find is
drawn in `report`. Nothing is recorded: trainers are made, looked at and dropped in this process.
"""
