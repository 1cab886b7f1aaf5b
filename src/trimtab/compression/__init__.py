"""compression: a tuned model goes in, a smaller one that computes nearly the same comes out."""
