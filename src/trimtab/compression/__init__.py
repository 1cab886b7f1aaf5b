"""compression: a tuned model made smaller, exported, and held to what it was before."""
