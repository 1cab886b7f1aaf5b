"""estimation: memory, time and disk of a Strategy, each figure with its interval and evidence."""
