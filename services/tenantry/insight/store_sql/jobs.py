"""Claims of background jobs, for one replica."""

from tenantry.kit import claims
from tenantry.kit.owner import Platform
from tenantry.kit.sql import Database


class SqlJobs:
    """The Jobs of the replica that calls itself `holder`."""

    def __init__(self, database: Database, holder: str) -> None:
        self._database = database
        self._holder = holder

    async def claim(self, owner: Platform, job: str, seconds: float) -> bool:
        async with self._database.write() as connection:
            return await claims.claim(connection, job, self._holder, seconds)

    async def release(self, owner: Platform, job: str) -> None:
        async with self._database.write() as connection:
            await claims.release(connection, job, self._holder)
