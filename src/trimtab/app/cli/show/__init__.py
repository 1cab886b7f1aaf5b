"""show: plans, progress, scores and findings on a terminal, in a pipe or as JSON."""
