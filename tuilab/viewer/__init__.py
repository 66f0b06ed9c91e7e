"""The live view of a run: reads `run.db`, sends commands, and harms nothing when it is closed."""
