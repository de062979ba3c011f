"""Alembert distils a BERT teacher into a small student and puts it to work on CPU."""

__version__ = "0.1.0"
