"""Starts one module in a bare interpreter: `python -I -S runner.py DIRECTORY MODULE ARGUMENT…`.

DIRECTORY is that of the package which MODULE belongs to. Its `__init__` and those of `envup` are not run: the small
programs that run beside a machine need the standard library alone and must start fast.
"""

import sys


def main() -> int:
    """Run `MODULE.main(arguments)`; its result is the exit code."""
    here = __file__.rpartition("/")[0]
    directory, name, *arguments = sys.argv[1:]
    _bare("envup", here.rpartition("/")[0])
    _bare("envup.namespaces", here)
    package = "envup.namespaces"
    if directory != here:
        package = directory.rpartition("/")[2]
        _bare(package, directory)
    module = __import__(f"{package}.{name}", fromlist=["main"])
    return int(module.main(arguments))


def _bare(name: str, directory: str) -> None:
    package = type(sys)(name)
    package.__path__ = [directory]
    sys.modules[name] = package


if __name__ == "__main__":
    sys.exit(main())
