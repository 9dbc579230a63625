"""Starts the quota service alone."""

from tenantry.kit.host import main
from tenantry.quota import server, settings

if __name__ == "__main__":
    main("quota", settings.from_environment, server.build)
