#!/usr/bin/env python3
"""Turns a pylock.toml on standard input into a small pip requirements lock on standard output.

Kept: wheels for CPython 3.10 to 3.14 on Linux (glibc; x86_64 and aarch64) and macOS (arm64), and pure ones.
A package without such a wheel is an error: gabion never builds one from source. See README.md beside this file.
"""

import re
import sys
import tomllib

CPYTHON = {f"cp3{minor}" for minor in range(10, 15)}
PLATFORM = re.compile(r"^(any|manylinux.*_(x86_64|aarch64)|macosx_.*_(arm64|universal2))$")


def wanted(url: str) -> bool:
    """Whether one of the machines gabion runs on could install this wheel."""
    _, python, abi, platform = url.rsplit("/", 1)[1].removesuffix(".whl").rsplit("-", 3)
    ours = abi in ("none", "abi3") or not CPYTHON.isdisjoint(abi.split("."))
    known = any(tag in CPYTHON or tag.startswith("py3") or abi == "abi3" for tag in python.split("."))
    return ours and known and any(PLATFORM.match(tag) for tag in platform.split("."))


def main() -> None:
    for package in tomllib.load(sys.stdin.buffer)["packages"]:
        wheels = [wheel for wheel in package.get("wheels", []) if wanted(wheel["url"])]
        if not wheels:
            sys.exit(f"{package['name']} {package['version']}: no usable wheel")
        marker = f" ; {package['marker']}" if "marker" in package else ""
        hashes = sorted(f"    --hash=sha256:{wheel['hashes']['sha256']}" for wheel in wheels)
        print(" \\\n".join([f"{package['name']}=={package['version']}{marker}", *hashes]))


if __name__ == "__main__":
    main()
