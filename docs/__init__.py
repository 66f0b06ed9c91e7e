"""The documentation: pages in Markdown, and scripts that complete them for the site."""
