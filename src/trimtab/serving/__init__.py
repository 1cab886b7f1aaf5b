"""serving: one base in memory, many adapters on it, requests of all of them in one batch; over HTTP where wanted.

Importing what serves imports torch; `limits`, `letting_in` and `http.settings` do not.
"""
