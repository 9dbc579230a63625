"""Makes the echo contract's stubs again."""

import sys
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

WELL_KNOWN = Path(grpc_tools.__file__).parent / "_proto"
ECHO = "tests/harness/protos/echo.proto"

if __name__ == "__main__":
    sys.exit(
        protoc.main(["protoc", "-I.", "-Iprotos", f"-I{WELL_KNOWN}", "--python_out=.", "--grpc_python_out=.", ECHO])
    )
