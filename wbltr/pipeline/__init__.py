"""From a request to an artifact: knows no concrete stage, and no torch."""

from wbltr.pipeline.lookup import artifact, artifacts, header, look_up, planned
from wbltr.pipeline.make import assist, load_made, make, materialize
from wbltr.pipeline.many import make_many
from wbltr.pipeline.terms import Artifact, Made, Node, Runtime, Stage

__all__ = [
    "Artifact",
    "Made",
    "Node",
    "Runtime",
    "Stage",
    "artifact",
    "artifacts",
    "assist",
    "header",
    "load_made",
    "look_up",
    "make",
    "make_many",
    "materialize",
    "planned",
]
