"""The way to the terminal: colours, glyphs, cell differences, pictures of the screen."""
