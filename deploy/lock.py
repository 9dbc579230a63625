"""Resolves pyproject.toml into the requirements files: every version and hash, for every platform, and no address."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).parent / "uv"
OPTIONS = [
    "--universal",
    "--python-version",
    "3.11",
    "--generate-hashes",
    "--no-emit-index-url",
    "--no-emit-find-links",
]

# What a running Tenantry needs (with the backend that installs it), what its makers need besides, the installer, and Envoy.
FILES = {
    "requirements.txt": ["pyproject.toml", "--group=build"],
    "requirements-dev.txt": [
        "pyproject.toml",
        "--group",
        "build",
        "--group",
        "dev",
        "--constraint",
        "requirements.txt",
    ],
    "requirements-uv.txt": ["--group=uv"],
    "requirements-edge.txt": ["--group=edge"],
}


def main() -> None:
    environment = os.environ | {"UV_CUSTOM_COMPILE_COMMAND": "make lock"}
    for output, source in FILES.items():
        command = [str(UV), "pip", "compile", "--quiet", *source, *OPTIONS, "--output-file", output, *sys.argv[1:]]
        subprocess.run(command, cwd=ROOT, check=True, env=environment)
        print(f"{output}: {sum('==' in line for line in (ROOT / output).read_text().splitlines())} packages")


if __name__ == "__main__":
    main()
