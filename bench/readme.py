"""Writes the README's section on performance from the tables in bench/results, between two markers.

python -m bench.readme [--check]     --check changes nothing, and ends with status 1 if the section is another one

Every figure there is a line of a saved table; date and machine are those of the table's first line. A table that has
not been saved yet has no part.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from nnfast.io.atomic import write_atomically

from .document import Document, read
from .report import header, speedups
from .saved import RESULTS, heading

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- Between these lines: python -m bench.readme, from the tables in bench/results. -->"
END = "<!-- End of what python -m bench.readme writes. -->"


@dataclass(frozen=True)
class Part:
    """What the README shows of a saved table.

    Parameters
    ----------
    file : the table's name in ``bench/results``.
    text : what stands above it.
    paragraphs : how lines of the table begin from which on a paragraph is shown, as regular expressions. Lines that are
        indented, lists of single rows, are not shown.
    """

    file: str
    text: str
    paragraphs: tuple[str, ...]


PARTS = (
    Part("training",
         "Training steps, forward, backward and Adam, beside PyTorch and TensorFlow (`python -m bench.peers`).\n"
         "*ratio*: the time of the fastest other library in float32 to nnfast's, and nnfast's memory to PyTorch's.",
         (r"batch \d+", "ms a step", r"\d+ networks")),
    Part("scaling", "What a step costs against the number of images and threads (`python -m bench.peers --scaling`).",
         ("network +batch",)),
    Part("scaling_size", "What a step costs against the size of images (`python -m bench.peers --scaling size`).",
         ("network +size",)),
    Part("kernels",
         "Kernels beside PyTorch's, ratios of its time to nnfast's: all that both have (`python -m bench.pytorch`).",
         (r"\d+ threads", r"\d+ kernels")),
    Part("convolutions",
         "Convolutions beside PyTorch's `channels_last`, the same ratios (`python -m bench.convolutions`).",
         (r"\d+ threads", r"\d+ rows")),
    Part("sweep", "The same for convolutions of well-known networks (`python -m bench.convolutions --sweep`).",
         (r"\d+ threads", r"\d+ rows")),
    Part("accuracy", "A ResNet-20 on CIFAR-10, trained by both with the same recipe (`python -m bench.accuracy`).",
         ("library",)),
    Part("startup", "From `python` to the end of the first training step of the MNIST CNN (`python -m bench.startup`).",
         ("cached",)),
)  # fmt: skip


def excerpt(text: str, part: Part) -> str:
    """The lines of a saved table that the README shows.

    Raises
    ------
    ValueError : the table has no such paragraph.
    """
    blocks = text.split("\n\n")
    blocks[0] = blocks[0].partition("\n")[2]  # without the heading
    shown = []
    for pattern in part.paragraphs:
        lines = [block.strip("\n").split("\n") for block in blocks]
        found = [block for block in lines if any(re.match(pattern, line) for line in block)]
        if not found:
            raise ValueError(f"bench/results/{part.file}.txt: no paragraph begins with {pattern!r}")
        first = next(number for number, line in enumerate(found[0]) if re.match(pattern, line))
        shown.append("\n".join(line for line in found[0][first:] if not line.startswith("  ")))
    return "\n\n".join(shown)


def beside_numpy(results: Path) -> list[str]:
    """What the README shows of the youngest results of ``nnfast bench --save``: machine, mean and pictures."""
    kept: dict[Path, Document] = {file: read(file) for file in results.glob("*/*.json")}
    if not kept:
        return []
    file = max(kept, key=lambda file: kept[file].date)
    found, place = kept[file], f"bench/results/{file.parent.name}/{file.stem}"
    lines = speedups(found.rows)
    titles, mean = lines[0], next(line for line in lines if line.startswith("geometric mean"))
    table = "\n".join([*header(found.machine), "", titles, mean])
    text = (f"Kernels beside NumPy's, whose BLAS has one thread (`nnfast bench --save --plot`).\n"
            f"[{file.name}]({place}.json): {found.date[:10]}.")  # fmt: skip
    pictures = [f"![{path.stem.rpartition('-')[2]}](bench/results/{file.parent.name}/{path.name})"
                for path in sorted(file.parent.glob(f"{file.stem}-*.png"))]  # fmt: skip
    return [f"{text}\n\n```\n{table}\n```", *pictures]


def section(results: Path = RESULTS) -> str:
    """The section between the markers, which are part of it.

    Raises
    ------
    ValueError : a table without heading or without what is to be shown.
    """
    parts = [BEGIN]
    for part in PARTS:
        file = results / f"{part.file}.txt"
        if not file.exists():
            continue
        text = file.read_text()
        made = heading(text)
        source = f"[{file.name}](bench/results/{file.name}): {made.machine}; {made.date}."
        parts.append(f"{part.text}\n{source}\n\n```\n{excerpt(text, part)}\n```")
        if file.with_suffix(".png").exists():
            parts.append(f"![{part.file}](bench/results/{part.file}.png)")
    return "\n\n".join([*parts, *beside_numpy(results), END])


def replaced(readme: str, new: str) -> str:
    """The README's text with another section between its markers.

    Raises
    ------
    ValueError : the markers do not stand there once each, in this order.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in after:
        raise ValueError(f"README.md: expected {BEGIN!r} and {END!r} once each")
    return before + new + after


def main() -> int:
    """Write the section, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if the section is another one")
    arguments = parser.parse_args()
    old = README.read_text()
    new = replaced(old, section())
    if arguments.check:
        print("README.md is what bench/results say" if new == old else "README.md differs: python -m bench.readme")
        return int(new != old)
    with write_atomically(README) as file:
        file.write(new.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
