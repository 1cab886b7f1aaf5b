"""serving.http: a service over HTTP, for programs that speak as OpenAI's clients do. Needs the extra `serve`.

What comes in passes, in this order: observed.py (an id, a line of log, what becomes of errors), gate.py (host,
origin, key, size), a route, `Service`. Leaves out TLS and more than one process: both stand in front of it.
"""
