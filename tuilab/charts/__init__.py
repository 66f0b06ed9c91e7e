"""Values to text cells: canvas, plots, strips, formats. Knows no Textual."""
