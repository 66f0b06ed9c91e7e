"""The command line: `main` assembles the commands; one file per group of commands.

A command parses its arguments, calls, prints, and returns the exit code. It imports what it needs
when it runs, so that `tuilab --help` is quick.
"""
