"""Random generators as parts of a training: a continued run draws what the uninterrupted one would have drawn."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Draws:
    """A generator of torch or numpy whose state a checkpoint keeps.

    Args:
        generator: Its kind (device, bit generator) must be the same when the state comes back.
    """

    generator: torch.Generator | np.random.Generator

    def state(self) -> dict[str, Tensor]:
        """The state, as bytes."""
        if isinstance(self.generator, torch.Generator):
            return {"bytes": self.generator.get_state()}
        text = json.dumps(self.generator.bit_generator.state, default=_plain)
        return {"bytes": torch.frombuffer(bytearray(text.encode()), dtype=torch.uint8)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Draw from now on what was drawn after `state()`.

        Raises:
            ValueError: The state is another kind of generator's.
        """
        content = state["bytes"].cpu()
        try:
            if isinstance(self.generator, torch.Generator):
                self.generator.set_state(content)
            else:
                self.generator.bit_generator.state = json.loads(content.numpy().tobytes(), object_hook=_arrays)
        except (RuntimeError, TypeError, KeyError) as error:
            raise ValueError(f"the state of another kind of random generator ({error})") from error


def _plain(value: Any) -> list[int]:
    """Philox, MT19937 and SFC64 keep arrays in their states; JSON has lists."""
    return [int(each) for each in value]


def _arrays(state: dict[str, Any]) -> dict[str, Any]:
    def array(value: list[int]) -> Any:
        # Words of 64 bits, but for MT19937, which asks for words of 32 and converts them itself.
        return np.array(value, dtype=np.uint64)

    return {key: array(value) if isinstance(value, list) else value for key, value in state.items()}
