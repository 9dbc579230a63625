"""What the repository promises of itself and no other tool checks: rooms of one shape, walls, no addresses."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SERVICES = ROOT / "services" / "tenantry"
NO_ROOMS = {"cli", "kit"}
ROOMS = sorted(
    path for path in SERVICES.iterdir() if path.is_dir() and path.name not in NO_ROOMS and any(path.glob("*.py"))
)

DRIVERS = {"alembic", "anthropic", "google", "grpc", "httpx", "openai", "redis", "sqlalchemy", "starlette", "weaviate"}
# Beside server, service*, store_*, provider_* and *_mesh, which speaks to another service: what shares a store's work.
ADAPTERS = {"retrieval/ledger.py", "retrieval/weaviate_shards.py"}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv"}
LONGEST_FILE = 400
LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\]|\$\{?\w+\}?|\{\w+\})(?=[:/\"'\s]|$)")


def source(path: Path) -> str:
    return path.relative_to(SERVICES).as_posix()


def rooms_modules() -> Iterator[Path]:
    for room in ROOMS:
        yield from (path for path in sorted(room.rglob("*.py")) if "migrations" not in path.parts)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_adapter(path: Path) -> bool:
    inner = path.relative_to(SERVICES).parts[1:]
    outermost = inner[0].removesuffix(".py")
    return (
        outermost in {"server", "service"}
        or outermost.startswith(("store_", "provider_"))
        or outermost.endswith("_mesh")
        or source(path) in ADAPTERS
    )


def tracked() -> list[str]:
    if not (ROOT / ".git").exists():
        pytest.skip("left out: this is no clone, so git can't say which files are the project's")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_there_are_rooms() -> None:
    assert len(ROOMS) >= 4


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_has_the_shape_of_every_room(room: Path) -> None:
    assert {"__main__.py", "settings.py", "server.py"} <= {path.name for path in room.iterdir()}
    assert (room / "service.py").exists() or (room / "service").is_dir()


def test_a_namespace_has_no_init_file() -> None:
    assert not (SERVICES / "__init__.py").exists()
    assert not list((ROOT / "gen").rglob("__init__.py"))


def test_rules_and_use_cases_import_no_driver() -> None:
    offenders = [
        f"{source(path)} imports {name}"
        for path in rooms_modules()
        if not is_adapter(path)
        for name in imported(ast.parse(path.read_text(encoding="utf-8")))
        if name.partition(".")[0] in DRIVERS or name.startswith("tenantry.api")
    ]
    assert not offenders


def test_every_named_adapter_still_exists() -> None:
    assert not [name for name in sorted(ADAPTERS) if not (SERVICES / name).exists()]


def test_only_settings_read_the_environment() -> None:
    offenders = [
        f"{source(path)}:{node.lineno}"
        for path in sorted(SERVICES.rglob("*.py"))
        if path.name != "settings.py" and source(path).partition("/")[0] != "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (isinstance(node, ast.ImportFrom) and any(alias.name in ENVIRONMENT for alias in node.names))
    ]
    assert not offenders


def test_no_source_file_is_long() -> None:
    lengths = {source(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SERVICES.rglob("*.py")}
    assert not {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE}


def test_nothing_that_builds_or_installs_names_where_it_downloads_from() -> None:
    builds = re.compile(r"(Makefile|pyproject\.toml|requirements.*\.txt|buf\.yaml|\.ci/.*|deploy/(?!.*\.md$).*)")
    offenders = list[str]()
    for name in filter(builds.fullmatch, tracked()):
        text = (ROOT / name).read_text(encoding="utf-8")
        options = re.findall(r"(?<!no-emit-)\b(?:extra-)?index-url|(?<!no-emit-)\bfind-links", text)
        addresses = [found for found in re.findall(r"https?://(\S*)", text) if not LOOPBACK.match(found)]
        offenders += [f"{name}: {words}" for words in options + addresses]
    assert not offenders


def test_every_package_is_pinned_with_its_hash() -> None:
    for lock in sorted(ROOT.glob("requirements*.txt")):
        text = re.sub(r"\\\n\s*", "", lock.read_text(encoding="utf-8"))
        packages = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
        assert packages
        assert not [line for line in packages if "==" not in line or "--hash=sha256:" not in line], lock.name


def test_both_locks_agree_on_every_version() -> None:
    runtime, makers = (
        set(re.findall(r"^[\w.\[\]-]+==[^ \\]+", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    assert runtime <= makers


def test_no_file_names_a_machine_s_own_folders() -> None:
    own = re.compile(rb"(?<![\w./~-])/(?:home|Users|root|work)/\w+")
    assert not [name for name in tracked() if own.search((ROOT / name).read_bytes())]


def test_the_contracts_that_clients_rely_on_are_recorded() -> None:
    assert (ROOT / "protos" / "published.binpb").stat().st_size > 0
