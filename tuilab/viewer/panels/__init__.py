"""The panels of the screen, one file each: a pure function from data to lines, and its widget."""
