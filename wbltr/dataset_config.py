"""DatasetConfig: the recipe's section on images and parts. No torch here: a cached chain starts fast."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from wbltr.config import Config, Count, Seed, Share, added_later


class DatasetConfig(Config):
    """Which images, cut to which long tail (Cui et al., CVPR 2019; Cao et al., NeurIPS 2019), or long-tailed as they are."""

    source: Literal["cifar100", "cifar10", "digits", "imagenet-lt", "inaturalist18", "places-lt", "images", "embeddings"]
    imbalance_factor: Annotated[float, Field(ge=1, strict=True)] | None = 100  # images of the largest class / of the smallest
    profile: Literal["exp", "step", "natural"] = "exp"  # `natural`: as the source's lists say
    largest: Count | None = None  # images of the largest class; null: what every class of the source has
    order: Literal["file", "shuffled"] = "file"  # which images a class keeps: its first, or a seeded choice
    val: Literal["unused", "holdout", "list", "none"] = "unused"  # `unused`: images the long tail left out
    seed: Seed = 0
    on_bad_image: Literal["fail", "skip"] = added_later("fail")  # what becomes of listed images that cannot be decoded
    # Keep a decoded copy of listed images, its shorter side brought down to so many pixels; null: decode the files each time.
    copy_side: Annotated[int, Field(ge=8, le=1024, strict=True)] | None = added_later(None)
    # Shares of each class for parts that a set of one's own does not name; `val_share` where val: holdout.
    test_share: Share = added_later(0.2)
    val_share: Share = added_later(0.1)
    # Hold pictures of one's own as squares of so many pixels, grey or colour; null: stream them from their files.
    side: Annotated[int, Field(ge=8, le=256, strict=True)] | None = added_later(None)
    channels: Literal[1, 3] | None = added_later(None)
    normalize: Literal["none", "l2"] = added_later("none")  # of embeddings: as they are, or each of unit norm
    # Columns of a parquet file that hold the embeddings; null: the list column, or every column of numbers but label and split.
    columns: tuple[str, ...] | None = added_later(None)
    class_order: Literal["text", "number"] = added_later("text")  # of one's own classes: by name, or by the number that it is
    # Which folders are classes, where folders hold folders.
    classes: Literal["outermost", "innermost"] = added_later("outermost")
    # Bits that images of one's own use where their files have 16; the upper 8 of these are kept. Null: 16.
    depth: Annotated[int, Field(ge=8, le=16, strict=True)] | None = added_later(None)
    # A dataset whose images keep their parts, by content; what is new is drawn.
    parts_from: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = added_later(None)

    @property
    def own(self) -> bool:
        """Whether it is nobody's benchmark: what the user brings, long-tailed as it is."""
        return self.source in ("images", "embeddings")

    @property
    def listed(self) -> bool:
        """Whether lists name its images, which stay where they are."""
        return self.source in ("imagenet-lt", "inaturalist18", "places-lt")

    @property
    def in_files(self) -> bool:
        """Whether its images are files, which are looked at before any key."""
        return self.listed or self.source == "images"

    @model_validator(mode="after")
    def _listed_sets_are_long_tailed_already(self) -> Self:
        natural = self.listed or self.own
        if natural != (self.profile == "natural"):
            other = "natural, as its lists say" if self.listed else "natural, as it is" if natural else "exp or step"
            raise ValueError(f"profile: {self.profile}: {self.source} has {other}")
        if natural and (self.imbalance_factor is not None or self.largest is not None):
            raise ValueError("profile: natural leaves nothing to cut; set imbalance_factor: null and leave largest out")
        if not natural and self.imbalance_factor is None:
            raise ValueError(f"{self.source} is cut to a long tail: give imbalance_factor")
        return self

    @model_validator(mode="after")
    def _the_source_has_this_validation_part(self) -> Self:
        if (self.listed or self.own) and self.val == "unused":
            raise ValueError("val: unused: nothing was left out of a set that is taken as it is; use list, holdout or none")
        if self.val == "list" and (not (self.listed or self.own) or self.source == "inaturalist18"):
            raise ValueError(f"val: list: {self.source} has no list of validation images; use holdout or none")
        if not self.in_files and (self.on_bad_image != "fail" or self.copy_side is not None):
            raise ValueError(f"on_bad_image, copy_side: {self.source} holds no image files")
        if (self.side is None) != (self.channels is None) or (self.side is not None and self.source != "images"):
            raise ValueError("side and channels belong together, and to source: images")
        if self.side is not None and self.copy_side is not None:
            raise ValueError("copy_side: with side the pictures are held already")
        if self.normalize != "none" and self.source != "embeddings":
            raise ValueError(f"normalize: {self.source} holds no embeddings")
        if self.columns is not None and self.source != "embeddings":
            raise ValueError(f"columns: {self.source} has no columns of embeddings")
        if self.class_order != "text" and not self.own:
            raise ValueError(f"class_order: {self.source} has an order of its own")
        if self.source != "images" and (self.classes != "outermost" or self.depth is not None or self.parts_from is not None):
            raise ValueError(f"classes, depth, parts_from: {self.source} holds no images of one's own")
        if not self.own and (self.test_share, self.val_share) != (0.2, 0.1):
            raise ValueError(f"test_share, val_share: {self.source} has a test part of its own")
        return self
