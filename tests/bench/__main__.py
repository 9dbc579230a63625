"""`python -m tests.bench NAME`: runs one benchmark. Its last line is one JSON object; docs/BENCHMARKS.md says what it means."""

import importlib
import sys

NAMES = (
    *("path", "echo", "memory", "leaks", "revocation", "fuzz", "edge", "identity"),
    *("quota", "faults", "fairness", "queue"),
)


def main(arguments: list[str]) -> None:
    if len(arguments) != 1 or arguments[0] not in NAMES:
        sys.exit(f"usage: python -m tests.bench {' | '.join(NAMES)}")
    importlib.import_module(f"tests.bench.{arguments[0]}").run().print()


if __name__ == "__main__":
    main(sys.argv[1:])
