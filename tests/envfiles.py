"""Envfiles for tests: some that hold, and hundreds that do not, always the same ones.

They use the provisioners of envup and the provider `box` of `fake_plugins`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent

EVERYTHING = """\
version: 1
name: shop
provider: auto

defaults:
  resources: {memory: 512MiB}

machines:
  db:
    provider: box
    image: debian/bookworm
    resources: {cpus: 2, memory: 1GiB, disk: 8GiB, pids: 512}
    ready: {command: pg_isready, timeout: 60s}
    provision:
      - shell: apt-get update && apt-get install -y postgresql

  web:
    requires: {isolation: machine}
    image: {docker: "python:3.12-slim"}
    depends_on: {db: ready}
    hostname: web
    environment: {APP_ENV: dev, TOKEN: "${TOKEN:?set TOKEN first}"}
    ports: ["127.0.0.1:8080:80", "5353:53/udp"]
    mounts:
      - .:/workspace
      - {from: ./conf, to: /etc/app, read_only: true}
    user: app
    provision:
      - name: packages
        shell: apt-get update && apt-get install -y nginx
      - name: app
        shell: {script: setup.sh, args: [--fast], user: app, workdir: /srv}
        environment: {DEBUG: "1"}
        run: once
      - copy: {from: conf/nginx.conf, to: /etc/nginx/nginx.conf, owner: root, mode: "0644"}
    box: {level: 3}
    docker: {shm_size: 256MiB}
    kvm: {firmware: bios, acceleration: auto}
"""

GOOD = {
    "everything": EVERYTHING,
    "smallest": "image: debian/bookworm\nprovision:\n  - shell: apt-get update && apt-get install -y nginx\n",
    "one machine in JSON": '{"image": {"tarball": "./rootfs.tar.zst"}, "mounts": [], "ports": ["0:80"]}',
    "byte order mark": "\ufeffimage: host\n",
    "windows lines": "image: host\r\nuser: app\r\n",
    "explicit document": "%YAML 1.1\n---\nimage: host\n...\n",
    "free keys": "x-note: ['${NOT_SET}']\nimage: {directory: ., x-why: tests}\nresources: {x-a: 1, cpus: 1}\n",
    "anchors and merges": dedent("""\
        x-common: &common
          image: ubuntu/noble
          environment: &vars {A: "1"}
        machines:
          a: {<<: *common, environment: {<<: *vars, B: "2"}}
          b: {<<: [*common, {user: app}]}
        """),
    "machines in any number": "defaults: {image: host}\nmachines: {"
    + ", ".join(f"m{i}: {{}}" for i in range(50))
    + "}\n",
}

MISSPELT = re.findall(
    r"\w+",
    """version name provider defaults machines resources memory cpus disk pids ready command timeout provision requires
    isolation image depends_on hostname environment ports mounts read_only user script args workdir run copy mode owner
    shell docker level""",
)

BAD_VALUES: dict[str, tuple[str, ...]] = {
    "version": ("2", "one", "[]", "", "'1'"),
    "name": ("[a]", "''", "a b", "-x", "{a: b}", '"a\\nb"'),
    "provider": ("[box]", "boxx", "''", "~", "{box: 1}"),
    "image": ("", "debian", "5", "[debian/bookworm]", "{}", "{debootstrap: {}}", "{debootstrap: {suite: [a]}}",
              "{tarball: a, directory: b}", "{tarbal: a}", "{sha256: a}", "{tarball: a, sha256: xyz}", "python:3.12",
              "{tarball: 'https://example.org/a.tar'}", "{docker: [a]}", "{dockerfile: a, sha256: b}", "{disk: ''}"),
    "resources": ("5", "[]", "{cpus: 0}", "{cpus: two}", "{cpus: -1}", "{memory: 512}", "{memory: 1G}",
                  "{memory: 1 gib}", "{memory: 0MiB}", "{memory: -1GiB}", "{memory: [1GiB]}", "{disk: 8}", "{pids: 0}",
                  "{pids: 1.5}", "{pids: 9999999999999999999999}", "{cpus: .inf}", "{cpus: .nan}", "{memory: 1e999}"),
    "requires": ("machine", "{isolation: strong}", "{isolation: []}", "{level: 1}"),
    "hostname": ("a_b", "-a", "[]", "''", "a..b", f"{'a' * 64}", '"web\\n"'),
    "user": ("[]", "'a b'", "''", "a:b:c", "{name: app}"),
    "environment": ("[A=1]", "{1A: b}", "{A: [1]}", "{A: ~}", "{A: }", "{A B: c}", "text", "{A: '${'}", "{A: '${A-b}'}",
                    "{A: '${NOT_SET}'}", "{A: '${NOT_SET:?tell me}'}", "{A: '${1}'}", "{A: '${A:-${B}}'}", "{x-a: b}"),
    "ports": ("80", "['80']", "[80]", "['80:']", "['70000:80']", "['80:0']", "['80:80:80']", "['a:80:80']",
              "['80:80/icmp']", "['300.1.1.1:80:80']", "['[::g]:80:80']", "['80:80', '80:81']", "{80: 80}",
              "['127.0.0.1:80:80', '80:81']", "[8080:80:]", "['[:::]:1:1']", "['80:80\\n']", '["80:80\\n"]'),
    "mounts": ("./a", "[a]", "['a:b']", "[{from: a}]", "[{from: a, to: b}]", "[{from: a, to: /b, mode: ro}]", "['a:/']",
               "['a:/b/../..']", "['a:/b', 'c:/b/']", "[{from: a, to: /b, read_only: maybe}]", "[5]", "[~]", "~"),
    "depends_on": ("db", "[nobody]", "{db: soon}", "[default]", "5", "[[db]]", "{default: ready}"),
    "ready": ("{}", "{command: a, tcp: 5}", "{tcp: 0}", "{tcp: '5'}", "{tcp: 99999}", "{tcp: 5, timeout: 60}", "true",
              "{tcp: 5, timeout: 1 day}", "{http: 80}", "{http: {path: a}}", "{tcp: 5, interval: 0s}", "{comand: a}"),
    "provision": ("apt-get update", "{shell: a}", "[apt-get]", "[{}]", "[{name: a}]", "[{shell: a, copy: b}]", "[~]",
                  "[{shell: ''}]", "[{shell: {}}]", "[{shell: {inline: a, script: b}}]", "[{shell: [a]}]",
                  "[{shell: a, run: twice}]", "[{shell: a, run: yes}]", "[{shell: {script: a, args: b}}]",
                  "[{shell: {script: a, workdir: b}}]", "[{copy: {from: a}}]", "[{copy: {from: a, to: b}}]",
                  "[{copy: {from: a, to: /b, mode: rw}}]", "[{copy: {from: a, to: /b, mode: 0888}}]", "[{ansible: a}]",
                  "[{copy: a}]", "[{shell: a, name: x}, {shell: b, name: x}]", "[{shell: a, environment: [b]}]",
                  "[{shell: a, on: b}]"),
    "box": ("5", "{level: 0}", "{level: high}", "{levle: 1}", "[]"),
    "docker": ("5", "[a]", "~"),
    "machines": ("~", "{}", "[a]", "a", "{a: ~}", "{a: []}", "{A: {image: host}}", "{a_b: {image: host}}",
                 "{'': {image: host}}", f"{{{'a' * 41}: {{image: host}}}}", "{a: {}}", "{-a: {image: host}}",
                 "{a: {image: host, depends_on: [b]}, b: {image: host, depends_on: [a]}}"),
}  # fmt: skip

BOMB = "x-a: &a [b, b, b, b, b, b, b, b, b]\n" + "".join(
    f"x-{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "x-a: &a {k: v}\n" + "".join(
    f"x-{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 30)}]}}\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

HOSTILE: dict[str, bytes] = {
    "empty": b"",
    "white": b" \n\n",
    "comment": b"# nothing\n",
    "separator": b"---\n",
    "null": b"~\n",
    "text": b"hello\n",
    "number": b"42\n",
    "list": b"- image: host\n",
    "two documents": b"image: host\n---\nimage: host\n",
    "nul": b"image: ho\0st\n",
    "escape": b"image: \x1b[2J\n",
    "binary": bytes(range(256)),
    "elf": b"\x7fELF\x02\x01\x01" + bytes(64),
    "latin 1": "name: Müller\nimage: host\n".encode("latin-1"),
    "utf-16": "image: host\n".encode("utf-16"),
    "half a character": "name: ü".encode()[:-1],
    "encoded surrogate": b"image: host\nname: \xed\xa0\x80\n",
    "escaped surrogate": b'image: host\nname: "\\ud800"\n',
    "escaped nul": b'image: host\nenvironment: {A: "a\\0b"}\n',
    "key with nul": b'"a\\0": b\nimage: host\n',
    "alias bomb": BOMB.encode(),
    "merge bomb": MERGE_BOMB.encode(),
    "recursive list": b"image: host\nx-a: &a [*a]\n",
    "recursive mapping": b"image: host\nx-a: &a {b: *a}\n",
    "recursive merge": b"image: host\nx-a: &a {<<: *a}\n",
    "recursive document": b"&a\nimage: host\nx-a: *a\n",
    "unknown alias": b"image: *nothing\n",
    "merge of text": b"image: host\n<<: text\n",
    "merge of texts": b"image: host\n<<: [a, b]\n",
    "deep lists": b"image: " + b"[" * 5000,
    "deep closed lists": b"image: host\nx-a: " + b"[" * 500 + b"]" * 500,
    "deep mappings": b"image: " + b"{a: " * 5000,
    "deep blocks": b"\n".join(b" " * i + b"a:" for i in range(400)),
    "deep dashes": b"- " * 5000,
    "deep through aliases": b"image: host\n"
    + b"x-0: &k0 {a: {a: {a: {a: {a: {a: {a: b}}}}}}}\n"
    + b"".join(b"x-%d: &k%d {a: {a: {a: {a: {a: *k%d}}}}}\n" % (i, i, i - 1) for i in range(1, 12)),
    "long list": b"image: host\nports: [" + b"'0:80', " * 30000 + b"]\n",
    "many keys": b"".join(b"key%d: 1\n" % i for i in range(15000)),
    "large file": b"image: host\n#" + b"x" * (1 << 20),
    "long key": b"a" * 100000 + b": 1\n",
    "long text": b"image: '" + b"a" * 500000 + b"'\n",
    "huge integer": b"image: host\nresources: {pids: " + b"9" * 100000 + b"}\n",
    "huge float": b"image: host\nresources: {cpus: " + b"9" * 5000 + b".5}\n",
    "python object": b"image: !!python/object/apply:os.system ['true']\n",
    "python name": b"image: host\nx-a: !!python/name:os.system\n",
    "python tuple": b"image: host\nports: !!python/tuple ['80:80']\n",
    "own tag": b"image: !mine host\n",
    "set": b"image: host\nx-a: !!set {a, b}\n",
    "binary tag": b"image: host\nname: !!binary aGVsbG8=\n",
    "ordered map": b"image: host\nx-a: !!omap [a: b]\n",
    "wrong tag": b"image: !!map host\n",
    "list as key": b"image: host\n? [a, b]\n: c\n",
    "mapping as key": b"image: host\n? {a: b}\n: c\n",
    "alias as key": b"image: host\nx-a: &a [1]\n*a : c\n",
    "null as key": b"image: host\n~: c\n",
    "empty key": b"image: host\n: c\n",
    "date as name of a machine": b"machines: {2024-01-01T00:00:00: {image: host}}\n",
    "date": b"image: 2024-01-01\n",
    "sexagesimal": b"image: host\nresources: {pids: 22:22}\n",
    "octal": b"image: host\nresources: {pids: 0o17}\n",
    "hexadecimal": b"image: host\nresources: {pids: 0x1F}\n",
    "boolean image": b"image: yes\n",
    "directive": b"%FOO bar\n",
    "future YAML": b"%YAML 9.9\n---\nimage: host\n",
    "open quote": b'image: "host\n',
    "open single quote": b"image: 'host\n",
    "open list": b"image: host\nports: ['80:80'\n",
    "open mapping": b"image: {directory: a\n",
    "closed twice": b"image: {directory: a}}\n",
    "bad escape": b'image: "\\q"\n',
    "at sign": b"image: @host\n",
    "backquote": b"image: `host`\n",
    "percent": b"image: %host\n",
    "colon twice": b"image: a: b\n",
    "tab": b"image:\n\tdirectory: a\n",
    "tab in list": b"image: host\nports:\n\t- '80:80'\n",
    "only tab": b"\timage: host\n",
    "JSON with a comma too many": b'{"image": "host",, "user": "app"}\n',
    "toml": b'[machines.web]\nimage = "host"\n',
    "Vagrantfile": b'Vagrant.configure("2") do |config|\n  config.vm.box = "debian"\nend\n',
    "HTML": b"<!doctype html>\n<html><body>404</body></html>\n",
    "conflict": b"<<<<<<< HEAD\nimage: host\n=======\nimage: debian/bookworm\n>>>>>>> branch\n",
    "image missing": b"user: app\n",
    "machine keys beside machines": b"image: host\nmachines: {a: {image: host}}\n",
    "ports of two machines": b"defaults: {image: host, ports: ['80:80']}\nmachines: {a: {}, b: {}}\n",
    "provider too weak": b"image: host\nprovider: box\nrequires: {isolation: machine}\n",
    "surrogate pair in two": b'image: host\nname: "\\ud83d\\ude00 x"\n',
}


def malformed() -> Iterator[tuple[str, bytes]]:
    """(name, content) of each Envfile that does not hold; names are unique."""
    for family in (_misspelt, _duplicated, _unpunctuated, _tabbed, _truncated, _outdented, _wrong):
        for name, text in family():
            yield name, text.encode()
    yield from (("hostile: " + name, content) for name, content in HOSTILE.items())


def _lines() -> Iterator[tuple[int, str, list[str]]]:
    lines = EVERYTHING.splitlines()
    for index, line in enumerate(lines):
        if line.strip():
            yield index, line, lines


def _with(lines: list[str], index: int, *new: str) -> str:
    return "\n".join([*lines[:index], *new, *lines[index + 1 :]]) + "\n"


def _misspelt() -> Iterator[tuple[str, str]]:
    """Each key once with a letter too few, once with one too many, once in capitals."""
    for key in MISSPELT:
        found = re.search(rf"(?<![\w.]){key}:(?= |\n)", EVERYTHING)
        assert found, key
        for how, wrong in (("short", key[:-1]), ("long", key[:2] + key[1:]), ("capital", key.upper())):
            yield f"{how} {key}", f"{EVERYTHING[: found.start()]}{wrong}{EVERYTHING[found.start() + len(key) :]}"


def _duplicated() -> Iterator[tuple[str, str]]:
    for index, line, lines in _lines():
        if re.fullmatch(r" *\w+: .*", line):
            yield f"line {index + 1} twice", _with(lines, index, line, line)


def _unpunctuated() -> Iterator[tuple[str, str]]:
    for index, line, lines in _lines():
        if ":" in line and "shell: apt" not in line:
            yield f"line {index + 1} without its colon", _with(lines, index, line.replace(":", "", 1))


def _tabbed() -> Iterator[tuple[str, str]]:
    for index, line, lines in _lines():
        if line.startswith(" "):
            yield f"line {index + 1} with a tab", _with(lines, index, "\t" + line.lstrip())


def _truncated() -> Iterator[tuple[str, str]]:
    """The file ends within a list, a mapping or a quote."""
    for found in re.finditer(r"[\[{]|: \"", EVERYTHING):
        yield f"ends at {found.start()}", EVERYTHING[: found.end()]


def _outdented() -> Iterator[tuple[str, str]]:
    """One line a space too far to the left; it then belongs to nothing. A mapping's only line may stand there."""
    for index, line, lines in _lines():
        if line.startswith("  ") and not line.lstrip().startswith("- ") and lines[index - 1] != "defaults:":
            yield f"line {index + 1} outdented", _with(lines, index, line[1:])


def _wrong() -> Iterator[tuple[str, str]]:
    """Each key with values that it cannot have, in a file that is good beside it."""
    for key, values in BAD_VALUES.items():
        for value in values:
            others = "" if key in ("image", "machines") else "image: host\n"
            yield f"{key} is {value}", f"{others}{key}: {value}\n"
