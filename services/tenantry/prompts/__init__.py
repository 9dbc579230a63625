"""prompts: a tenant's templates, their revisions that never change, and the alias that says which one answers."""
