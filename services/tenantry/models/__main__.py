"""Starts the models service alone."""

from tenantry.kit.host import main
from tenantry.models import server, settings

if __name__ == "__main__":
    main("models", settings.from_environment, server.build)
