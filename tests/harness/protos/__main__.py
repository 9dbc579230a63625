"""Makes the echo contract's stubs again."""

import sys
import sysconfig
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
SCRIPTS = Path(sysconfig.get_path("scripts"))
ECHO = "tests/harness/protos/echo.proto"

if __name__ == "__main__":
    plugins = [f"--plugin={name}={SCRIPTS / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    outputs = ["--python_out=.", "--mypy_out=quiet:.", "--grpc_python_out=.", "--mypy_grpc_out=quiet,only_async:."]
    sys.exit(protoc.main(["protoc", "-I.", "-Iprotos", f"-I{WELL_KNOWN}", *plugins, *outputs, ECHO]))
