"""Starts the gateway alone, with the address for clients."""

from tenantry.gateway import server, settings
from tenantry.kit.host import main

if __name__ == "__main__":
    main("gateway", settings.from_environment, server.build)
