"""The command line: `claimed-med list | show | run | pipeline | ...`. Standard library only at the top.

Each command is imported when it is used, so that `claimed-med list` starts at once.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from claimed_med.component import Contract

COMMANDS = {
    "list": ("cli:list_components", "list the components, by category"),
    "show": ("cli:show_component", "show one component's contract"),
    "run": ("run:main", "run one component on folders"),
    "pipeline": ("pipeline_cli:main", "list, show, run or compile a pipeline"),
    "lineage": ("provenance.cli:main", "where it came from and what it was used for; verify, run again, sign, export"),
    "serve": ("services.server:main", "serve a blessed model: V1, Open Inference Protocol v2, DICOM"),
    "net": ("net_cli:main", "send, query, retrieve and receive over the DICOM network"),
    "monitor": ("services.monitor_cli:main", "show the page of deployed models"),
    "manifest": ("manifest_cli:main", "print the Kubernetes manifest of a training job"),
    "data": ("data:main", "list, make, fetch or locate data sets"),
    "new": ("scaffold:main", "write a new component and its test"),
    "generate": ("generate:main", "write component.yaml files, docs pages and stub"),
}
_EXIT_CODES = """exit codes: 0 done, 1 unexpected, 2 option or name that is not allowed, 3 input, 4 missing dependency,
5 model, 6 refused, 7 output or difference, 8 engine, 9 nothing found, 130 stopped"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in {"-h", "--help"}:
        print(usage())
        return 0 if words else 2
    if words[0] == "--version":
        from claimed_med.lineage import package_version

        print(package_version())
        return 0
    if words[0] not in COMMANDS:
        print(f"claimed-med: there is no command {words[0]!r}\n\n{usage()}", file=sys.stderr)
        return 2
    module, name = COMMANDS[words[0]][0].split(":")
    command: Callable[[list[str]], int] = getattr(importlib.import_module(f"claimed_med.{module}"), name)
    return guarded(command, words[1:])


def guarded(command: Callable[[list[str]], int], words: list[str]) -> int:
    """Call a command; turn errors raised on purpose into their text and exit code."""
    from claimed_med.errors import ClaimedMedError

    try:
        return command(words)
    except ClaimedMedError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback, no foreign message
        from claimed_med.execute import explain

        told = explain(error, "claimed-med")
        print(f"error: {told['text']}", file=sys.stderr)
        return int(told["exit_code"])


def usage() -> str:
    """The page of `claimed-med --help`."""
    lines = [f"  {name:<10} {words}" for name, (_, words) in COMMANDS.items()]
    return "\n".join(
        ["usage: claimed-med COMMAND ...", "", *lines, "", "claimed-med COMMAND --help says more.", _EXIT_CODES]
    )


def list_components(words: list[str]) -> int:
    """`claimed-med list [--json] [--category C]`."""
    from claimed_med import registry

    parser = argparse.ArgumentParser(prog="claimed-med list", description="List the components, by category.")
    parser.add_argument("--json", action="store_true", help="print the contracts as JSON")
    parser.add_argument("--category", default="", help="only this category")
    parser.add_argument(
        "--image", default=os.environ.get("CLAIMED_MED_IMAGE", ""), help="only those of this image (in one: its own)"
    )
    arguments = parser.parse_args(words)
    contracts = [registry.get(name).contract for name in registry.names()]
    for what in ("category", "image"):
        _refuse_unknown(what, getattr(arguments, what), {getattr(one, what) for one in contracts})
    chosen = [
        one for one in contracts if arguments.category in {"", one.category} and arguments.image in {"", one.image}
    ]
    if arguments.json:
        print(json.dumps([one.as_dict() for one in chosen], indent=1))
        return 0
    for category in sorted({one.category for one in chosen}):
        print(category)
        for one in chosen:
            if one.category == category:
                print(f"  {one.name:<24} {one.summary}")
    return 0


def _refuse_unknown(what: str, given: str, known: set[str]) -> None:
    from claimed_med.errors import ContractError

    if given and given not in known:
        raise ContractError("list", f"--{what} is unknown", got=repr(given), allowed=", ".join(sorted(known)))


def show_component(words: list[str]) -> int:
    """`claimed-med show NAME [--json]`."""
    from claimed_med import registry

    parser = argparse.ArgumentParser(
        prog="claimed-med show", description="Show one component's contract, or what a de-identification profile does."
    )
    parser.add_argument(
        "name",
        help="a name from claimed-med list, a component file, or a profile: research, strict, FILE.toml",
    )
    parser.add_argument("--json", action="store_true", help="print the contract as JSON")
    arguments = parser.parse_args(words)
    name = arguments.name
    if name not in registry.names() and (name in {"research", "strict"} or name.endswith(".toml")):
        print(profile_page(name, as_json=arguments.json))
        return 0
    contract = registry.get(arguments.name).contract
    print(json.dumps(contract.as_dict(), indent=1) if arguments.json else page(contract))
    return 0


def profile_page(name: str, *, as_json: bool = False) -> str:
    """What a de-identification profile, by name or TOML file, does to each attribute."""
    from claimed_med.dicom import deid_profile

    profile = deid_profile.load_file(Path(name)) if name.endswith(".toml") else deid_profile.load(name)
    rows = deid_profile.explained(profile)
    if as_json:
        return json.dumps({"profile": profile.as_dict(), "attributes": rows}, indent=1)
    head = f"profile {profile.name}: {', '.join(profile.options) or 'no option'}"
    return "\n".join([head, "", *(f"{one['tag']}  {one['name']}: {one['does']}  ({one['why']})" for one in rows)])


def page(contract: Contract) -> str:
    """A contract as a page of text."""
    from claimed_med.component import to_argument, type_name

    over = f", over each {contract.over}" if contract.over else ""
    lines = [f"{contract.name} {contract.version} ({contract.category}, image {contract.image}{over})", ""]
    lines += [contract.summary, *([""] if contract.description else []), *contract.description.splitlines(), ""]
    for title, ports in (("inputs", contract.inputs), ("outputs", contract.outputs)):
        lines += [f"{title}:", *(f"  {port.name}: {port.kind}\n      {port.summary}" for port in ports), ""]
    if contract.settings:
        lines.append("settings:")
    for one in contract.settings:
        limits = f" in [{one.low:g}, {one.high:g}]" if one.low is not None and one.high is not None else ""
        allowed = f" one of {', '.join(one.choices)}" if one.choices else ""
        unit = f" {one.unit}" if one.unit else ""
        default = to_argument(one, one.default) or "empty"
        lines.append(
            f"  {one.option} {type_name(one.type)}{limits}{unit}{allowed} (default {default})\n      {one.summary}"
        )
    for title, text in (("raises", contract.raises), ("source", contract.source)):
        if text:
            lines += ["", f"{title}:", *(f"  {line}" for line in text.splitlines())]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
