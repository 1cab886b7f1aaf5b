"""One file a section of the page: its routes, and the values that its template shows."""
