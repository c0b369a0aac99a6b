"""JSON without the package `json`, whose import costs more than a whole question to the engine.

The two C functions that `json` itself is made of do the work."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    def encode_basestring_ascii(text: str, /) -> str: ...
    def make_scanner(context: object, /) -> Any: ...
else:
    from _json import encode_basestring_ascii, make_scanner


class _Context:
    strict = False
    object_hook = object_pairs_hook = None
    parse_float, parse_int, parse_constant = float, int, float


_scan = make_scanner(_Context)


def loads(text: bytes) -> Any:
    """The value that `text` begins with. Errors: `ValueError`."""
    try:
        return _scan(text.decode().lstrip(), 0)[0]
    except StopIteration:
        raise ValueError(f"no JSON: {text[:200]!r}") from None


def dumps(value: Any) -> str:
    """`value`, made of mappings, lists, tuples, strings, numbers, booleans and None."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{','.join(map(dumps, value))}]"
    members = (f"{encode_basestring_ascii(str(key))}:{dumps(value[key])}" for key in value)
    return "{" + ",".join(members) + "}"
