"""Envoy in front of a mesh: its configuration, made from the contracts, and the process that runs it."""
