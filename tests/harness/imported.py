"""What `tests.harness.forked` imports before it forks: all that the services and the command import, at once or when needed."""

import gc
import importlib
import pkgutil

from tenantry.kit.settings import SERVICES

for _name in (*SERVICES, "kit", "cli"):
    _package = importlib.import_module(f"tenantry.{_name}")
    for _module in pkgutil.iter_modules(_package.__path__, f"{_package.__name__}."):
        if not _module.name.endswith(("__main__", ".migrations")):
            importlib.import_module(_module.name)
for _late in ("alembic.config", "alembic.runtime.environment", "alembic.script", "uvloop"):
    importlib.import_module(_late)
gc.collect()
gc.freeze()  # so that collections in the children copy none of it
