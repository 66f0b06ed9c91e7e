"""Records trainers of the engine: those that a scenario builds, and those that a program builds.

What belongs here: what a run says of a `Trainer`, which commands it takes, and `TrainerRun`, which
records one that a program drives. What does not: scenarios and the processes that train them.
"""
