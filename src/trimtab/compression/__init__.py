"""compression: a finished model in, a smaller one out that is held to it."""
