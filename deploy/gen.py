"""Makes the Python stubs in gen/python from protos/, or with --check says which of them are stale.

The same contracts give the same bytes: the plugins are pinned and the files are handed over in order.
"""

import argparse
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parents[1]
PROTOS = ROOT / "protos"
STUBS = ROOT / "gen" / "python"
WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
SCRIPTS = Path(sysconfig.get_path("scripts"))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true", help="change nothing; fail if the stubs are stale")
    check = bool(arguments.parse_args().check)
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch)
        generate(made)
        stale = differences(made, STUBS)
        if check:
            for line in stale:
                print(line, file=sys.stderr)
            if stale:
                print("gen/python is not what protos/ says: run `make gen` and commit the result.", file=sys.stderr)
            return 1 if stale else 0
        replace(made, STUBS, stale)
    print(f"gen/python: {len(stale)} file(s) changed")
    return 0


def generate(target: Path) -> None:
    """Messages for every contract, clients and servers for those that have a service, types for both."""
    contracts = sorted(PROTOS.rglob("*.proto"))
    if not contracts:
        raise SystemExit("protos/ holds no contract")
    messages = [f"--python_out={target}", f"--mypy_out=quiet:{target}"]
    services = [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet,only_async:{target}"]
    run(messages, contracts)
    run(services, [contract for contract in contracts if has_service(contract)])


def has_service(contract: Path) -> bool:
    return any(line.startswith("service ") for line in contract.read_text(encoding="utf-8").splitlines())


def run(outputs: list[str], contracts: list[Path]) -> None:
    plugins = [f"--plugin={name}={SCRIPTS / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    names = [str(contract.relative_to(PROTOS)) for contract in contracts]
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{WELL_KNOWN}", *plugins, *outputs, *names]) != 0:
        raise SystemExit("protoc refused the contracts (see above)")


def differences(made: Path, kept: Path) -> list[str]:
    """One line for each file that is missing, different or left over."""
    new, old = files(made), files(kept)
    words = dict.fromkeys(old - new, "left over") | dict.fromkeys(new - old, "missing")
    words |= {name: "different" for name in new & old if (made / name).read_bytes() != (kept / name).read_bytes()}
    return [f"{words[name]}: gen/python/{name}" for name in sorted(words)]


def replace(made: Path, kept: Path, stale: list[str]) -> None:
    """Touch only what differs, so that a second run changes no file's time."""
    for line in stale:
        word, _, name = line.partition(": gen/python/")
        if word == "left over":
            (kept / name).unlink()
            continue
        (kept / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(made / name, kept / name)


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*_pb2*.py*"))
    return {str(path) for path in found if path.suffix in {".py", ".pyi"} and "__pycache__" not in path.parts}


if __name__ == "__main__":
    sys.exit(main())
