"""The page: plans, trainings, comparisons, ledger and costs in a browser on the same machine. Needs the extra
`ui`.

A page is a file of `pages/` that asks the facade `trimtab.study`, and a template. What comes in passes the gate
first (gate.py: host, origin, key, form token, size). Words stand in words.toml, in English and Chinese. A training
runs in a process of its own (children.py), which outlives the page. Leaves out TLS, and users: who has the key may
do all that the page can.
"""
