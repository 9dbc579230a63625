"""Fixtures that every kind of test shares: stores that are started when a test first asks for them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import left_out, stores
from tests.harness import mesh as mesh_harness
from tests.harness.clock import FrozenClock
from tests.harness.mesh import RunningMesh, attached_mesh, running_mesh

# Holds the mesh that tests share. pytest runs those that share one in a row, since it is a parameter of the session.
SHARED = ExitStack()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--mesh` chooses what the tests that ask for `mesh` run against: both topologies unless it is given."""
    parser.addoption(
        "--mesh", default="", help="cohosted, processes, or the address of a mesh (its operator's key in TENANTRY_KEY)"
    )
    parser.addoption(
        "--edge", default="kit", choices=["kit", "envoy"], help="who stands at the mesh's address for clients"
    )


def pytest_configure(config: pytest.Config) -> None:
    """The mark that pytest-xdist reads is known without it too; the options hold for meshes that tests start themselves."""
    config.addinivalue_line("markers", "xdist_group(name): tests of a group run in one process")
    mesh_harness.BEHIND_ENVOY = config.getoption("--edge") == "envoy"
    mesh_harness.FORKED = True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test that asks for `mesh` is run on each topology."""
    if "mesh" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--mesh")
        metafunc.parametrize("mesh", [chosen] if chosen else ["cohosted", "processes"], indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs in one of the processes of `make test`: all that share a mesh, so that each topology is started once; else a
    file. Whole meshes and what may take long begin first, so that no process waits for another at the end."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        group = "mesh" if _shares_mesh(item) else str(item.path.relative_to(item.config.rootpath))
        item.add_marker(pytest.mark.xdist_group(group))
        groups.setdefault(group, []).append(item)
    order = sorted(groups.values(), key=lambda group: (_kind(group) in ("unit", "contract"), -_longest_s(group)))
    items[:] = [item for group in order for item in group]


def _kind(group: list[pytest.Item]) -> str:
    return group[0].path.relative_to(group[0].config.rootpath / "tests").parts[0]


def _longest_s(group: list[pytest.Item]) -> float:
    """What a group's tests say that they may take: seconds of their own mark, else one each."""
    marks = [item.get_closest_marker("timeout") for item in group]
    return sum(1.0 if mark is None else mark.args[0] for mark in marks)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Groups that don't hold are an error: each process would start meshes and servers of its own for every file."""
    loose = [item.nodeid for item in session.items if "@" not in item.nodeid]
    if getattr(session.config.option, "loadgroup", False) and loose:
        raise pytest.UsageError(f"pytest-xdist has put {len(loose)} tests into no group, {loose[0]} for one")


@pytest.fixture(scope="session")
def mesh(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningMesh]:
    """A whole mesh that answers. Shared: use tenants of your own."""
    state = tmp_path_factory.mktemp("mesh")
    if request.param in ("cohosted", "processes"):
        with SHARED:
            yield SHARED.enter_context(running_mesh(request.param, state))
    else:
        yield attached_mesh(request.param, os.environ["TENANTRY_KEY"], state)


@pytest.hookimpl(trylast=True)  # after the test's own fixtures
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The shared mesh ends with its last test, not with the session: idle, eight processes take a twelfth of a core."""
    if _shares_mesh(item) and not _shares_mesh(nextitem):
        SHARED.close()


def _shares_mesh(item: pytest.Item | None) -> bool:
    return "mesh" in getattr(item, "fixturenames", ())


@pytest.fixture
def clock() -> FrozenClock:
    """Time stands still until the test moves it."""
    return FrozenClock()


@pytest.fixture(scope="session")
def valkey_books() -> Iterator[str]:
    """URL of a Valkey that keeps every acknowledged write. Shared: use tenants of your own."""
    with stores.running(stores.BOOKS) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_books() -> Iterator[str]:
    """URL of a Redis 7 that keeps every acknowledged write, or the test is left out. Shared: use tenants of your own."""
    with stores.running(stores.BOOKS, Path(left_out.require("redis-server"))) as server:
        yield server.url


@pytest.fixture(scope="session")
def valkey_cache() -> Iterator[str]:
    """URL of a Valkey that forgets what is old. Shared: use tenants of your own."""
    with stores.running(stores.CACHE) as server:
        yield server.url


@pytest.fixture
def own_books() -> Iterator[stores.RedisServer]:
    """Books of this test's own, to stop, kill and start again."""
    with stores.running(stores.BOOKS) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[stores.PostgresServer]:
    """A running PostgreSQL, or the test is left out with the reason."""
    server = stores.PostgresServer()
    try:
        try:
            server.start()
        except (RuntimeError, OSError, LookupError, subprocess.SubprocessError) as error:
            left_out.leave_out(f"PostgreSQL does not start here: {str(error).partition(chr(10))[0]}")
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def postgres_url(postgres_server: stores.PostgresServer) -> str:
    """An empty PostgreSQL database for this module."""
    return postgres_server.new_database()


@pytest.fixture(params=["sqlite", "postgres"])
def sql_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database for this test, once on each of the two kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.db'}"
    server: stores.PostgresServer = request.getfixturevalue("postgres_server")
    return server.new_database()
