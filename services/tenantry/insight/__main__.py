"""Starts the insight service alone."""

from tenantry.insight import server, settings
from tenantry.kit.host import main

if __name__ == "__main__":
    main("insight", settings.from_environment, server.build)
