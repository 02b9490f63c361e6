"""Predict from generated particles alone whether an event will pass a skim.

The chain: produce, preprocess, train, apply, evaluate (and export). Each step is one
command, ``python -m smartbkg_tf.<step>``; importing this package loads nothing heavy.
"""

__version__ = "0.1.0"
