"""Starts tenancy alone, and makes first what the mesh needs if nobody has: it is tenancy that gives the others
their tokens."""

import asyncio

from tenantry.kit.host import main
from tenantry.tenancy import server, settings
from tenantry.tenancy.initialise import initialise

if __name__ == "__main__":
    mine = settings.from_environment()
    if not (mine.tokens / "tenancy.token").exists():
        asyncio.run(initialise(mine))
    main("tenancy", settings.from_environment, server.build)
