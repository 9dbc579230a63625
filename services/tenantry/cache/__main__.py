"""Starts the cache service alone."""

from tenantry.cache import server, settings
from tenantry.kit.host import main

if __name__ == "__main__":
    main("cache", settings.from_environment, server.build)
