"""Writes the list of all flags: python docs/flags.py > docs/flags.md."""

import argparse

from styling.command.flags import Parser, build_parser


def markdown(parser: Parser) -> str:
    """The flags as tables, one for each group."""
    lines = [f"# {parser.prog}", "", parser.description or "", ""]
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.option_strings]
        if actions:
            lines += [f"## {(group.title or '').capitalize()}", "", "| flag | |", "| --- | --- |"]
            rows = [(usage(action), (action.help or "").replace("%%", "%")) for action in actions]
            lines += [f"| `{flag}` | {text} |" for flag, text in rows] + [""]
    return "\n".join(lines)


def usage(action: argparse.Action) -> str:
    """A flag with its value, as it is typed."""
    flags = ", ".join(action.option_strings)
    if action.nargs == 0:
        return flags
    value = action.metavar or "{" + ",".join(action.choices or ()) + "}"
    if action.nargs == "?":
        value = f"[{value}]"
    return f"{flags} {value}{' ...' if action.nargs == '+' else ''}".replace("|", "\\|")


if __name__ == "__main__":
    print(markdown(build_parser()), end="")
