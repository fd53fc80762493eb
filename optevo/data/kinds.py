"""How images belong together. Loads nothing, so that the command line may name it."""

from typing import Literal

# Two of a picture each; two domains without pairs; or images of one kind.
Kind = Literal["pairs", "unpaired", "alone"]
