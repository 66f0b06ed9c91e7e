"""What the screen shows, without Textual: store, other runs, claims, settings."""
