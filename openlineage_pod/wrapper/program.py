"""What a command runs: the script or module behind interpreters and launchers, and its programming language.

`env A=b python -u -X dev /app/load.py` runs `load`. One table knows the interpreters, another one the suffixes of
scripts. Light of imports: the command waits for it.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Program", "program_of"]

_UNKNOWN = "UNKNOWN"
_UNNAMED = "command"
# Shell code with nothing but these, besides letters and digits, between `&&`, `;` and line ends is simple commands.
_PLAIN = set("@%+=:,./_- ")
# Commands of a shell itself, and others beside the one that counts.
_BESIDE = (
    "cd set unset export source . : umask ulimit trap wait exit echo printf read test [ true false kill mkdir sleep"
)
_VERSION = "0123456789."

# The suffixes of scripts and archives, and their languages.
_SUFFIXES = {
    suffix: language
    for language, suffixes in {
        "PYTHON": ".py .pyc .pyw .pyz .ipynb",
        "SHELL": ".sh .ash .dash .ksh",
        "BASH": ".bash",
        "ZSH": ".zsh",
        "JAVA": ".jar .war .java .class",
        "JAVASCRIPT": ".js .mjs .cjs",
        "TYPESCRIPT": ".ts .mts .cts",
        "R": ".R .r",
        "PERL": ".pl",
        "RUBY": ".rb",
        "PHP": ".php .phar",
        "GO": ".go",
        "JULIA": ".jl",
        "LUA": ".lua",
        "SCALA": ".scala",
        "GROOVY": ".groovy",
        "POWERSHELL": ".ps1",
        "SQL": ".sql",
    }.items()
    for suffix in suffixes.split()
}


class Program(NamedTuple):
    """What a command runs.

    Attributes:
        name: Of the script or module; of the executable if there is none.
        executable: The base name of the command's first word.
        language: The programming language in capitals, `UNKNOWN` if the tables do not know it.

    """

    name: str
    executable: str
    language: str


class _Rule:
    """How to find the script in the arguments of an interpreter, or the command in those of a launcher.

    Args:
        language: of the scripts.
        launches: whether the operand is a command of its own.
        values: the options that take a value, as words.
        names: the options whose value is the script or module.
        code: the options whose value is code, which has no name.
        code_follows: the options that make the first operand code, as in a shell.
        flags: if given, only these options take no value, and all others do.
        subcommands: the first operand must be one of these.
        skipped: the number of operands before the command.
        are_letters: whether one dash may stand before several one-letter options.

    """

    def __init__(  # a named tuple would take longer to make than all the rules
        self,
        language: str = _UNKNOWN,
        *,
        launches: bool = False,
        values: str = "",
        names: str = "",
        code: str = "",
        code_follows: str = "",
        flags: str = "",
        subcommands: str = "",
        skipped: int = 0,
        are_letters: bool = True,
    ) -> None:
        self.language = language
        self.launches = launches
        self.values = values
        self.names = names
        self.code = code
        self.code_follows = code_follows
        self.flags = flags
        self.subcommands = subcommands
        self.skipped = skipped
        self.are_letters = are_letters

    def takes_value(self, option: str) -> bool:
        """Return whether the value of `option` may be the next argument."""
        if self.flags:
            return option not in self.flags.split()
        return option in f"{self.values} {self.names} {self.code}".split()


_PYTHON = _Rule("PYTHON", values="-W -X --check-hash-based-pycs", names="-m", code="-c")
_SHELL_OPTIONS = {"values": "-o -O --rcfile --init-file", "code": "-s", "code_follows": "-c"}
_SHELL = _Rule("SHELL", **_SHELL_OPTIONS)  # type: ignore[arg-type]
_node = partial(
    _Rule,
    values="-r --require --import --loader --experimental-loader -C --conditions --env-file",
    code="-e --eval -p --print -pe",
    are_letters=False,
)
_launcher = partial(_Rule, launches=True)

# By the name of the executable without a version at its end.
_RULES = {
    # Interpreters.
    "python": _PYTHON,
    "pypy": _PYTHON,
    "ipython": _PYTHON,
    "coverage": _Rule("PYTHON", values="--rcfile --source --omit --include --data-file", names="-m", subcommands="run"),
    "papermill": _Rule("PYTHON", values="-f -y -b -k --parameters_file --kernel"),
    "streamlit": _Rule("PYTHON", subcommands="run"),
    "torchrun": _Rule(
        "PYTHON",
        values="--nnodes --nproc-per-node --nproc_per_node --node-rank --node_rank --master-addr --master_addr "
        "--master-port --master_port --rdzv-backend --rdzv_backend --rdzv-endpoint --rdzv_endpoint --max-restarts",
        names="-m --module",
    ),
    "bash": _Rule("BASH", **_SHELL_OPTIONS),  # type: ignore[arg-type]
    "zsh": _Rule("ZSH", **_SHELL_OPTIONS),  # type: ignore[arg-type]
    **dict.fromkeys(("sh", "dash", "ash", "ksh", "mksh"), _SHELL),
    "pwsh": _Rule("POWERSHELL", names="-File -f", code="-Command -c", are_letters=False),
    "node": _node("JAVASCRIPT"),
    "nodejs": _node("JAVASCRIPT"),
    "deno": _Rule("TYPESCRIPT", values="-c --config --import-map --env-file", subcommands="run", are_letters=False),
    "tsx": _node("TYPESCRIPT"),
    "ts-node": _node("TYPESCRIPT"),
    "perl": _Rule("PERL", values="-I -M -m -C -i -x -0 -D -F -l", code="-e -E"),
    "ruby": _Rule("RUBY", values="-I -r -C -E -W", code="-e"),
    "php": _Rule("PHP", values="-d -c -z", names="-f --file", code="-r --run"),
    "go": _Rule("GO", values="-C -exec -tags -ldflags", subcommands="run", are_letters=False),
    "julia": _Rule(
        "JULIA", values="-L --load -t --threads -p --procs -J --sysimage -C -O", code="-e --eval -E --print"
    ),
    "lua": _Rule("LUA", values="-l", code="-e"),
    "groovy": _Rule("GROOVY", values="-cp -classpath --classpath -D", code="-e", are_letters=False),
    "Rscript": _Rule("R", values="-g --gui", code="-e", are_letters=False),
    "R": _Rule("R", values="-g --gui -d", names="-f --file", code="-e", are_letters=False),
    "java": _Rule(
        "JAVA",
        values="-cp -classpath --class-path -p --module-path --upgrade-module-path --add-modules --add-exports "
        "--add-opens --add-reads --patch-module --limit-modules --enable-native-access",
        names="-jar -m --module",
        are_letters=False,
    ),
    "spark-submit": _Rule(
        _UNKNOWN, names="--class", flags="-v --verbose --supervise -h --help --version", are_letters=False
    ),
    # Launchers, which start a command of its own.
    "env": _launcher(values="-u --unset -C --chdir"),
    **dict.fromkeys(
        ("nohup", "setsid", "catatonit", "busybox", "ddtrace-run", "opentelemetry-instrument", "exec", "time"),
        _launcher(),
    ),
    "nice": _launcher(values="-n --adjustment"),
    "ionice": _launcher(values="-c -n --class --classdata"),
    "stdbuf": _launcher(values="-i -o -e --input --output --error"),
    "timeout": _launcher(values="-s -k --signal --kill-after", skipped=1),
    "taskset": _launcher(skipped=1),
    "chroot": _launcher(skipped=1),
    "gosu": _launcher(skipped=1),
    "su-exec": _launcher(skipped=1),
    "s6-setuidgid": _launcher(skipped=1),
    "flock": _launcher(values="-w --timeout -E --conflict-exit-code", skipped=1),
    "runuser": _launcher(values="-u --user -g --group -G --supp-group"),
    "sudo": _launcher(values="-u --user -g --group -h --host -p --prompt -C -D --chdir -r -t -T -U"),
    "setpriv": _launcher(flags="--clear-groups --keep-groups --init-groups --no-new-privs --nnp --reset-env -d --dump"),
    "tini": _launcher(values="-p -e"),
    "dumb-init": _launcher(values="-r --rewrite"),
    "xvfb-run": _launcher(values="-e -f -n -p -s -w --error-file --server-num --server-args"),
    "uv": _launcher(
        language="PYTHON",
        values="--with --with-requirements --with-editable -p --python --project --directory --env-file --extra "
        "--group --only-group --no-group --package --index --index-url --default-index --extra-index-url --cache-dir",
        names="-m --module",
        subcommands="run",
    ),
    **dict.fromkeys(
        ("poetry", "pipenv", "pdm", "rye"), _launcher(values="-C -P --project --directory", subcommands="run")
    ),
    **dict.fromkeys(
        ("conda", "mamba", "micromamba"), _launcher(values="-n --name -p --prefix --cwd", subcommands="run")
    ),
    "newrelic-admin": _launcher(subcommands="run-program run-python"),
    "openlineage-pod": _launcher(
        values="--job-name --namespace --input --output --abort-on --complete-on --kill-after", subcommands="run"
    ),
}


def program_of(command: Sequence[str]) -> Program:
    """Return what a command runs. Reads no file."""
    name, language = os.path.basename(command[0].rstrip("/")) or _UNNAMED, _UNKNOWN
    # The name of a file may hold any byte, and an event only text.
    executable = "".join(each if each.isprintable() else "?" for each in name)
    words = list(command)
    while words:
        rule = _rule(words[0])
        if rule is None:  # a program with a name of its own
            return Program(_script_name(words[0]) or name, executable, _language(words[0], _UNKNOWN))
        name = os.path.basename(words[0]).rstrip(_VERSION)
        language = rule.language
        kind, operands = _operands(rule, words[1:])
        if kind == "code":
            words = _simple_command(operands[0])
        elif kind == "command":
            words = operands
        else:
            script = operands[0] if operands else ""
            found = script.removesuffix(".__main__") if kind == "module" else _script_name(script)
            return Program(found or name, executable, _language(script, language))
    return Program(name, executable, language)


def _rule(word: str) -> _Rule | None:
    name = os.path.basename(word)
    return _RULES.get(name) or _RULES.get(name.rstrip(_VERSION))


def _operands(rule: _Rule, arguments: list[str]) -> tuple[str, list[str]]:
    """Return the kind of what an interpreter or launcher runs, and the arguments from there on.

    The kinds are `script`, `module`, `code` (for a shell) and `command`. Without arguments nothing is known.
    """
    subcommands, skipped, is_code = rule.subcommands.split(), rule.skipped, False
    for option, value, index in _parsed(rule, arguments):
        if option in rule.names.split():
            return "script" if "/" in value or _suffix(value) else "module", [value]
        if (
            option in rule.code.split()
            or (subcommands and not option and value not in subcommands)
            or (not option and value == "-")
        ):
            break
        if option:
            is_code = is_code or option in rule.code_follows.split()
        elif subcommands:
            subcommands = []
        elif skipped:
            skipped -= 1
        elif not rule.launches:
            return "code" if is_code else "script", [value]
        elif not value.partition("=")[0].isidentifier() or "=" not in value:  # else it assigns a variable
            return "command", arguments[index - 1 :]
    return "script", []


def _parsed(rule: _Rule, arguments: list[str]) -> Iterator[tuple[str, str, int]]:
    """Yield each option with its value, each operand with an empty option, and the number of arguments read so far."""
    index, options_end = 0, False
    while index < len(arguments):
        argument = arguments[index]
        index += 1
        if options_end or argument == "-" or not argument.startswith(("-", "+")):
            yield "", argument, index
        elif argument == "--":
            options_end = True
        else:
            for option, attached in _options(rule, argument):
                value = attached
                if not attached and rule.takes_value(option):
                    value = "".join(arguments[index : index + 1])
                    index += 1
                yield option, value, index


def _options(rule: _Rule, argument: str) -> Iterator[tuple[str, str]]:
    """Yield each option of an argument such as `-uX` or `--name=value`, with the value that is attached to it."""
    if argument.startswith("--") or not rule.are_letters:
        option, _, value = argument.partition("=")
        yield option, value
        return
    for place, letter in enumerate(argument[1:], 2):
        option = f"-{letter}"
        is_last = rule.takes_value(option)
        yield option, argument[place:] if is_last else ""
        if is_last:
            return


def _simple_command(code: str) -> list[str]:
    """Return the words of the one simple command in shell code that counts; nothing if that is not clear."""
    lines = code.replace("&&", "\n").replace(";", "\n").splitlines()
    if not all(character.isalnum() or character in _PLAIN for line in lines for character in line):
        return []
    commands = [words for line in lines if (words := line.split()) and words[0] not in _BESIDE.split()]
    words = commands[0] if len(commands) == 1 else []
    while words and "=" in words[0]:  # the assignment of a variable
        del words[0]
    return words


def _suffix(path: str) -> str:
    suffix = os.path.splitext(path)[1]
    return suffix if suffix in _SUFFIXES else ""


def _language(path: str, default: str) -> str:
    return _SUFFIXES[suffix] if default == _UNKNOWN and (suffix := _suffix(path)) else default


def _script_name(path: str) -> str:
    """Return the name of a script: its base name without the suffix; of a package its folder's name."""
    name = os.path.basename(path.rstrip("/"))
    if name in (".", "..", "__main__.py"):
        with suppress(OSError):  # the current folder may be gone
            name = os.path.basename(os.path.abspath(path if name != "__main__.py" else os.path.dirname(path)))
    return name.removesuffix(_suffix(name)) or name
