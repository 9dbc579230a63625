"""What `tenantry init` makes, made once and copied: tables, secret, tokens and the operator's key take 0.2 s of a core."""

import asyncio
import atexit
import functools
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tenantry.tenancy.initialise import initialise
from tenantry.tenancy.settings import Settings


def settings_in(state: Path, *, loopback_issuers: bool = True) -> Settings:
    """Everything in one folder, where the services look for it."""
    return Settings(
        sql_url=f"sqlite+aiosqlite:///{state}/sql/tenancy.db",
        secret=state / "secrets" / "tenancy.key",
        tokens=state / "tokens",
        operator_key=state / "secrets" / "operator.key",
        loopback_issuers=loopback_issuers,
    )


def initialised(state: Path) -> Settings:
    """The settings of a tenancy in `state` that has been initialised, and had nothing else happen to it."""
    shutil.copytree(_made(), state, dirs_exist_ok=True)
    return settings_in(state)


@functools.cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tenantry-initialised-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # In a thread of its own: whoever asks first may have a loop that runs.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(initialise(settings_in(folder)))).result()
    return folder
