"""Write both lock files: `make lock`. With `--upgrade` every version moves to the newest that pyproject.toml allows."""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMPILE = ["-m", "uv", "pip", "compile", "--quiet", "--universal", "--generate-hashes", "--python-version", "3.11"]
QUIET = ["--no-header", "--no-annotate", "--no-emit-index-url", "--no-emit-find-links", "--no-emit-index-annotation"]


def main(options: list[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    build = project["build-system"]["requires"]
    lock(build, ["pyproject.toml", "-", "--output-file", "requirements.lock", *options])
    same = ["--constraint", "requirements.lock"]
    lock(build, ["pyproject.toml", "-", "--extra", "dev", *same, "--output-file", "requirements-dev.lock", *options])


def lock(extra: list[str], arguments: list[str]) -> None:
    command = [sys.executable, *COMPILE, *QUIET, *arguments]
    subprocess.run(command, cwd=ROOT, input="\n".join(extra), text=True, check=True)  # noqa: S603 - our own words


if __name__ == "__main__":
    main(sys.argv[1:])
