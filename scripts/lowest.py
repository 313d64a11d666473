"""Prints pip constraints that hold every dependency at its lower bound in pyproject.toml.

The dependencies of the package always, and those of the extras that are named as arguments.
"""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
requirements = list(project["dependencies"])
for extra in sys.argv[1:]:
    requirements += project["optional-dependencies"][extra]
for requirement in requirements:
    if found := re.match(r"([\w.-]+)(?:\[.*\])?\s*>=\s*([\w.]+)", requirement):
        print(f"{found[1]}=={found[2]}")
    elif not requirement.startswith(project["name"]):
        sys.exit(f"pyproject.toml gives no lower bound in {requirement!r}.")
