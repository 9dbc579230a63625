"""cli: the `tenantry` command, for people: it runs the mesh, and calls it with the caller's own key."""
