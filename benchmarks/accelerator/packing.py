"""Omniglot in one small file, for a machine to which little can be carried."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jmeta import data, train
from jmeta.data._omniglot import omniglot_folder


def pack(path: Path) -> None:
    """Write all images, 28x28, compressed: names [C], counts [C], images [E, 28, 28] uint8."""
    images = data.omniglot_images(omniglot_folder(data.data_root()))
    counts = np.array([len(each) for each in images.values()])
    path.parent.mkdir(parents=True, exist_ok=True)
    joined = np.concatenate(list(images.values()))
    np.savez_compressed(path, names=np.array(list(images)), counts=counts, images=joined)
    print(f"wrote {path}: {len(joined)} images, {path.stat().st_size / 1e6:.1f} MB")


def unpack(path: Path) -> dict[str, np.ndarray]:
    """Class name -> uint8 [drawings, 28, 28], as `jmeta.data.omniglot_images` gives them."""
    with np.load(path, allow_pickle=False) as held:
        pieces = np.split(held["images"], np.cumsum(held["counts"])[:-1])
        return dict(zip(held["names"].tolist(), pieces, strict=True))


@dataclass(frozen=True)
class Packed(train.Omniglot):
    """Omniglot from a file that `pack` wrote."""

    name: ClassVar[str] = "omniglot-packed"
    path: str = train.option("", "The file.", flag="packed")

    def load(self, *, seed: int, root: Any) -> data.Dataset:
        """The same pools as those of `jmeta.data.load_omniglot`."""
        del root
        return data.omniglot_dataset(
            unpack(Path(self.path)), split=self.split or "random", seed=seed
        )
