"""Quota's tables, a revision a file."""
