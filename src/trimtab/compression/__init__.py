"""compression: make a smaller model of an artifact, and prove that it is still the same model.

A recipe (recipe.py) is one step: it takes an open artifact and writes another. `carrying.carry_out` is the one way
to run a recipe: both models see the same rows, the difference is written into the artifact, and one beyond the
floor is refused. `wanted` holds what a step may be asked, and imports no torch. Leaves out: training (the loop is
the same), and which steps a machine calls for (study).
"""
