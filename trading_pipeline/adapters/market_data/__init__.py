"""Sources of raw bars: the bundled sample and imported files."""
