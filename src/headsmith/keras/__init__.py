"""Keras 3 wing of headsmith."""
