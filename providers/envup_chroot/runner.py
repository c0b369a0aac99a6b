"""Starts one module of this package in a bare interpreter: `python -I -S runner.py MODULE ARGUMENT…`.

The package's own `__init__` registers the plugin and needs pluggy; the small programs that run beside a machine need
the standard library alone and must start fast, so they get a package object without it.
"""

import sys


def main() -> int:
    """Run `MODULE.main(arguments)`; its result is the exit code."""
    package = type(sys)("envup_chroot")
    package.__path__ = [__file__.rpartition("/")[0]]
    sys.modules["envup_chroot"] = package
    module = __import__("envup_chroot." + sys.argv[1], fromlist=["main"])
    return int(module.main(sys.argv[2:]))


if __name__ == "__main__":
    sys.exit(main())
