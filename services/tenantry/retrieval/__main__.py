"""Starts the retrieval service alone."""

from tenantry.kit.host import main
from tenantry.retrieval import server, settings

if __name__ == "__main__":
    main("retrieval", settings.from_environment, server.build)
