"""Checks the contracts: lint, and that no client of the published ones breaks; `publish` records today's as published.

protos/published.binpb is the picture of the contracts that clients may rely on. It lies in the repository, so that the
check means the same in every clone, a fresh one without other branches included. Where origin/main is another commit
than this one, what is there must not break either.
"""

import argparse
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PUBLISHED = Path("protos/published.binpb")
BUF = Path(sysconfig.get_path("scripts")) / "buf"
MAIN = "origin/main"


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("do", choices=["check", "publish"])
    arguments.add_argument("--breaking", action="store_true", help="publish although clients break")
    chosen = arguments.parse_args()
    return check() if chosen.do == "check" else publish(breaking=chosen.breaking)


def check() -> int:
    if not buf("lint"):
        return 1
    if not (ROOT / PUBLISHED).exists():
        print(f"{PUBLISHED} is missing: nothing says what clients rely on. `make publish` records it.", file=sys.stderr)
        return 1
    sound = unbroken(str(PUBLISHED), "the published contracts")
    if moved_on_from_main():
        sound = unbroken(f".git#ref={MAIN},subdir=protos", MAIN) and sound
    return 0 if sound else 1


def publish(*, breaking: bool) -> int:
    known = (ROOT / PUBLISHED).exists()
    if known and not breaking and not unbroken(str(PUBLISHED), "the published contracts"):
        print("Nothing was published. ARGS=--breaking does it all the same.", file=sys.stderr)
        return 1
    done = buf("build", "protos", "--exclude-source-info", "-o", str(PUBLISHED))
    return 0 if done else 1


def unbroken(against: str, words: str) -> bool:
    if buf("breaking", "protos", "--against", against, "--config", "buf.yaml"):
        return True
    print(f"A client of {words} breaks (above).", file=sys.stderr)
    return False


def buf(*arguments: str) -> bool:
    return subprocess.run([str(BUF), *arguments], cwd=ROOT, check=False).returncode == 0


def moved_on_from_main() -> bool:
    """Whether origin/main exists, holds contracts and is another commit than this one."""
    theirs, ours = commit(MAIN), commit("HEAD")
    return bool(theirs) and theirs != ours and bool(git("ls-tree", "--name-only", MAIN, "buf.yaml"))


def commit(name: str) -> str:
    return git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    sys.exit(main())
