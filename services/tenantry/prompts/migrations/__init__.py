"""The tables of prompts, revision by revision."""
