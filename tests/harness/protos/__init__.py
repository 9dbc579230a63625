"""The echo contract and its stubs. Made by: python -m tests.harness.protos (from the repository's root)."""
