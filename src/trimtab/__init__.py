"""Trimtab: the balance point between a model, the way it is fine-tuned, and the hardware it runs on."""

__version__ = "0.1.0"
