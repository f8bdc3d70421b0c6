"""Draw a contact sheet of the built-in set: one class per row, its drawings side by side.

python benchmarks/glyphs_sheet.py [--part test] [--classes 48] [--out glyphs.png]
"""

import argparse

import numpy as np
from PIL import Image

from jmeta.data import Pool, load_glyphs


def sheet(pool: Pool, *, classes: int, columns: int, scale: int) -> Image.Image:
    """Lay out evenly spaced classes, two to a line, each with its first drawings."""
    chosen = np.linspace(0, len(pool.counts) - 1, classes).round().astype(int)
    examples, starts = np.asarray(pool.examples)[..., 0], np.asarray(pool.starts)
    drawings = min(columns, pool.smallest)
    rows = [np.concatenate(list(examples[starts[c] : starts[c] + drawings]), 1) for c in chosen]
    rows = [np.pad(255 - row, ((2, 2), (6, 6)), constant_values=255) for row in rows]
    if len(rows) % 2:
        rows.append(np.full_like(rows[0], 255))
    lines = [np.concatenate(pair, 1) for pair in zip(rows[::2], rows[1::2], strict=True)]
    image = Image.fromarray(np.concatenate(lines, 0))
    return image.resize((scale * image.width, scale * image.height), Image.Resampling.BICUBIC)


def main() -> None:
    """Write the sheet that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["train", "val", "test"], default="test")
    parser.add_argument("--classes", type=int, default=48)
    parser.add_argument("--columns", type=int, default=12, help="drawings of each class")
    parser.add_argument("--scale", type=int, default=2)
    parser.add_argument("--out", default="glyphs.png")
    args = parser.parse_args()
    pool = getattr(load_glyphs(), args.part)
    sheet(pool, classes=args.classes, columns=args.columns, scale=args.scale).save(args.out)
    print(f"{args.out}: {args.classes} of {len(pool.counts)} classes of the {args.part} part")


if __name__ == "__main__":
    main()
