"""Memory does not grow with the number of images: 2,000 and 20,000 are indexed and read once, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from made_images import LISTS, encoded, picture

SCRIPT = """
import json, resource, sys
from pathlib import Path

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

what, root, store = sys.argv[1:]
if what == "index":
    from wbltr.cli.app import main
    sys.argv = ["wbltr", "make-dataset", "--recipe", "imagenet-lt", "--root", root, "--store", store, "--threads", "2", "-q"]
    try:
        main()
    except SystemExit as done:
        assert not done.code, done.code
    print(json.dumps({"peak": peak()}))
else:
    import torch
    from wbltr.data.index import Index
    from wbltr.data.stream import ImageFiles, StreamedImages
    from wbltr.randomness import generator
    from wbltr.store import Store
    opened = Store.open(Path(store))
    dataset = opened.load(next(iter(opened.objects())))
    index = Index.load(dataset, "train")
    files = ImageFiles(index, [Path(root)], 32, 2)
    images = StreamedImages(files, torch.device("cpu"), lambda epoch: generator(0, "epoch", epoch), None, 64)
    steps = [[range(first, min(first + 64, len(index)))] for first in range(0, len(index), 64)]
    images.draw(0, steps)
    seen = 0
    for parts in steps:
        images.fetch()
        crops, labels = images.take(torch.tensor([*parts[0]]))
        seen += len(crops)
    images.close()
    print(json.dumps({"peak": peak(), "seen": seen}))
"""
MOST_GROWTH = 48  # MiB; 18,000 more images of 120 x 90 pixels would take 556 as pixels


def make(root: Path, images: int) -> None:
    """So many small JPEGs, laid out as ImageNet-LT is: a tenth of them to validate, a tenth to test."""
    kinds = [encoded(picture(label, number, 90)) for label in range(10) for number in range(5)]
    for part, count in (("train", images * 8 // 10), ("val", images // 10), ("test", images // 10)):
        rows = []
        for number in range(count):
            label = number % 10
            path = f"{'val' if part == 'test' else 'train'}/n{label:08}/{part}_{number}.JPEG"
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(kinds[label * 5 + number % 5])
            rows.append(f"{path} {label}\n")
        (root / LISTS["imagenet-lt"][part]).write_text("".join(rows))


@pytest.mark.slow
def test_memory_stays_flat_from_2000_to_20000_images(tmp_path: Path) -> None:
    peaks: dict[str, list[int]] = {"index": [], "pass": []}
    for images in (2_000, 20_000):
        root, store = tmp_path / str(images), tmp_path / f"store-{images}"
        make(root, images)
        for what, several in peaks.items():
            command = [sys.executable, "-c", SCRIPT, what, str(root), str(store)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            told = json.loads(done.stdout.splitlines()[-1])
            several.append(told["peak"])
            assert told.get("seen", images * 8 // 10) == images * 8 // 10
    print(f"peak memory in MiB, at 2,000 and 20,000 images: {peaks}")
    for what, (few, many) in peaks.items():
        assert many - few < MOST_GROWTH, f"{what}: {few} MiB at 2,000 images, {many} MiB at 20,000"
