"""The tables of models, revision by revision."""
