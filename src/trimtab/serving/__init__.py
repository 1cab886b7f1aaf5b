"""serving: one base in memory, many adapters on it, requests of all of them in one batch; over HTTP where wanted.

Importing this room imports torch; `serving.facts` does not.
"""
