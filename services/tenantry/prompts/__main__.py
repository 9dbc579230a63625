"""Starts the prompts service alone."""

from tenantry.kit.host import main
from tenantry.prompts import server, settings

if __name__ == "__main__":
    main("prompts", settings.from_environment, server.build)
