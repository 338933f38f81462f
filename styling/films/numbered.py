"""Numbered files: a pattern such as out/%04d.png names one file for each number."""

import os
import re
from pathlib import Path

NUMBER = re.compile(r"%(?:0\d)?d")


def is_pattern(path: Path) -> bool:
    """Whether the name has a place for a number, and is not a file's own."""
    return bool(NUMBER.search(path.name)) and not os.path.exists(path)


def file(pattern: Path, number: int) -> Path:
    """The file of a pattern with this number."""
    return pattern.with_name(NUMBER.sub(lambda place: place[0] % number, pattern.name, count=1))


def files(pattern: Path) -> dict[int, Path]:
    """The files that a pattern names, by their numbers, in order; empty without the folder."""
    if not pattern.parent.is_dir():
        return {}
    before, after = map(re.escape, NUMBER.split(pattern.name, maxsplit=1))
    matches = ((re.fullmatch(rf"{before}(\d+){after}", path.name), path) for path in pattern.parent.iterdir())
    return dict(sorted((int(match[1]), path) for match, path in matches if match))


def by_number(paths: list[Path]) -> dict[int, Path]:
    """Files by the numbers in their names, if nothing else differs; otherwise they are counted from 1."""
    parts = [re.fullmatch(r"(.*?)(\d+)(\D*)", path.name) for path in paths]
    numbers = [int(part[2]) for part in parts if part]
    alike = len({(part[1], part[3]) for part in parts if part}) == 1
    is_numbered = alike and len(set(numbers)) == len(paths)
    return dict(sorted(zip(numbers if is_numbered else range(1, len(paths) + 1), paths, strict=True)))
