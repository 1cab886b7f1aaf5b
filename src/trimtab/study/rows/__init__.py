"""The verb `estimate --rows`: one estimate for every row of a csv file of training setups, as they are read.

table.py reads the file, cells.py a cell, setup.py makes a setup of a row, answers.py answers it, facts.py shapes
the answer for JSON. The columns are those that published tables of fine-tuning runs share (docs/rows.md); their
order does not matter and others are ignored. An empty cell takes the documented default, and the answer says so. A
row that cannot be read has its error and does not stop the others. Nothing here imports torch, and no more than a
row is held.
"""

from trimtab.study.rows.answers import RowEstimate, estimate_row, estimate_rows
from trimtab.study.rows.facts import row_facts
from trimtab.study.rows.setup import kind_of, setup_of

__all__ = ["RowEstimate", "estimate_row", "estimate_rows", "kind_of", "row_facts", "setup_of"]
