"""metrics: see score.py."""
