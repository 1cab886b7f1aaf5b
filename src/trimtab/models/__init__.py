"""Facts about models: shapes, counts, where a model lies and what its files say. No torch, no weights read.

ModelSpec, Linear          what a model is                                    spec.py
families.*                 parameter arithmetic from a spec                   families.py, layouts.py
catalogue, shape_named     shapes of well-known models                        catalogue.py
"""

from trimtab.models.catalogue import catalogue, shape_named
from trimtab.models.spec import Kind, Linear, ModelSpec, Role

__all__ = ["Kind", "Linear", "ModelSpec", "Role", "catalogue", "shape_named"]
