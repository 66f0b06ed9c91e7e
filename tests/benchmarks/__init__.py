"""What is timed against peers and against the ways not taken; never part of the tests."""
