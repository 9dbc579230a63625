"""The tables of insight, revision by revision."""
