"""Genomes, architectures and the checks on both."""

import copy
import json
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optevo.errors import UsageError
from optevo.spaces.unet import NAMED, UNetArchitecture, UNetSpace, original, searched_gamma_001

SMALL = UNetSpace(channels=(4, 6, 8), depth=3, input_channels=1, output_channels=2)


def test_the_papers_space_has_its_size_and_genes_in_order() -> None:
    space = UNetSpace()
    assert space.size == 8_388_608
    assert list(space.gene_choices) == [f"c1_{k}" for k in range(1, 9)] + [f"c2_{k}" for k in range(1, 8)]
    assert space.gene_choices["c1_8"] == (64, 128, 256, 512)
    assert space.gene_choices["c2_7"] == (0, 1)
    assert space.chromosomes["c1"] + space.chromosomes["c2"] == tuple(space.gene_choices)
    assert len(space.chromosomes["c1"]) == 8


def test_ten_levels_stay_in_order() -> None:
    genes = list(UNetSpace(depth=11).gene_choices)
    assert genes.index("c1_10") == genes.index("c1_9") + 1
    assert genes.index("c2_10") == genes.index("c2_9") + 1


def test_genes_are_read_by_name_not_by_order() -> None:
    genome = {"c2_2": 0, "c1_3": 8, "c1_1": 4, "c2_1": 1, "c1_2": 6}
    architecture = SMALL.architecture(genome)
    assert architecture == UNetArchitecture((4, 6, 8), (True, False), input_channels=1, output_channels=2)
    assert list(SMALL.genome(architecture).items()) == [("c1_1", 4), ("c1_2", 6), ("c1_3", 8), ("c2_1", 1), ("c2_2", 0)]


@given(seed=st.integers(0, 2**32), depth=st.integers(2, 9))
def test_random_genomes_survive_the_round_trip_through_architecture_and_json(seed: int, depth: int) -> None:
    space = UNetSpace(channels=(8, 16, 24), depth=depth, input_channels=1)
    genome = space.random(np.random.default_rng(seed))
    architecture = space.architecture(genome)
    assert list(genome) == list(space.gene_choices)
    assert all(type(value) is int for value in genome.values())
    assert space.genome(architecture) == genome
    assert genome in space
    assert architecture in space
    assert UNetArchitecture.from_dict(json.loads(json.dumps(architecture.to_dict()))) == architecture


def test_random_follows_the_generator_and_is_uniform() -> None:
    assert UNetSpace().random(np.random.default_rng(5)) == UNetSpace().random(np.random.default_rng(5))
    rng = np.random.default_rng(0)
    space = UNetSpace(channels=(1, 2, 5), depth=2)
    counts = Counter(tuple(space.random(rng).values()) for _ in range(9000))
    assert len(counts) == space.size == 18
    assert max(abs(count - 500) for count in counts.values()) < 5 * np.sqrt(500)


def test_numpy_values_become_pythons_and_compare_equal() -> None:
    mixed = UNetArchitecture(tuple(np.array([4, 8])), (np.bool_(True),), input_channels=np.int64(1))  # type: ignore[arg-type]
    assert mixed == UNetArchitecture((4, 8), (True,), input_channels=1)
    assert hash(mixed) == hash(UNetArchitecture((4, 8), (True,), input_channels=1))
    assert [type(value) for value in (*mixed.channels, *mixed.skips, mixed.input_channels)] == [int, int, bool, int]
    json.dumps(mixed.to_dict())


def test_a_used_space_can_be_pickled_and_copied() -> None:
    space = UNetSpace(depth=5)
    assert space.gene_choices
    assert pickle.loads(pickle.dumps(space)) == copy.deepcopy(space) == UNetSpace(depth=5)


def test_the_original_is_pix2pix_and_in_the_papers_space() -> None:
    assert original().channels == (64, 128, 256, 512, 512, 512, 512, 512)
    assert original().skips == (True,) * 7
    assert original(ngf=16, depth=5).channels == (16, 32, 64, 128, 128)
    assert original() in UNetSpace()
    assert original(ngf=16, depth=8) not in UNetSpace()


def test_the_published_architecture() -> None:
    architecture = searched_gamma_001()
    assert architecture.channels == (256, 128, 128, 64, 512, 64, 128, 256)
    assert [level for level, skip in enumerate(architecture.skips, start=1) if skip] == [1, 3]
    assert architecture in UNetSpace()


@pytest.mark.parametrize("name", NAMED)
def test_named_architectures_take_any_image(name: str) -> None:
    architecture = NAMED[name](input_channels=1, output_channels=2)
    assert (architecture.input_channels, architecture.output_channels) == (1, 2)
    assert set(NAMED) == {"original", "paper-gamma-0.01"}


def assert_one_line(error: pytest.ExceptionInfo[UsageError], *parts: str) -> None:
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 300
    assert all(part in message for part in parts), message


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"channels": (8, 0), "skips": (True,)}, ("channels", "0", "1 to 65536")),
        ({"channels": (8, -4), "skips": (True,)}, ("channels", "-4")),
        ({"channels": (8, 10**30), "skips": (True,)}, ("channels", "1 to 65536")),
        ({"channels": (8, 4.0), "skips": (True,)}, ("channels", "4.0")),
        ({"channels": (8, True), "skips": (True,)}, ("channels", "True")),
        ({"channels": "88", "skips": (True,)}, ("channels", "list")),
        ({"channels": (8,), "skips": ()}, ("channels", "2 to 16")),
        ({"channels": (8,) * 17, "skips": (True,) * 16}, ("channels", "17")),
        ({"channels": (8, 8), "skips": (True, True)}, ("skips", "need 1 skips", "not 2")),
        ({"channels": (8, 8), "skips": ()}, ("skips", "need 1 skips", "not 0")),
        ({"channels": (8, 8), "skips": (2,)}, ("skips", "2", "true nor false")),
        ({"channels": (8, 8), "skips": ("no",)}, ("skips", "'no'")),
        ({"channels": (8, 8), "skips": 1}, ("skips", "list")),
        ({"channels": (8, 8), "skips": (True,), "input_channels": 0}, ("input_channels", "0")),
        ({"channels": (8, 8), "skips": (True,), "output_channels": "3\n" * 999}, ("output_channels",)),
    ],
)
def test_bad_architectures_are_refused_in_one_line(arguments: dict[str, object], parts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as error:
        UNetArchitecture(**arguments)  # type: ignore[arg-type]
    assert_one_line(error, *parts)
    whole = {"input_channels": 3, "output_channels": 3, **arguments}
    with pytest.raises(UsageError) as error:
        UNetArchitecture.from_dict(whole)
    assert_one_line(error, *parts)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (None, "table"),
        ([1, 2], "table"),
        ("x" * 9999, "table"),
        ({}, "'channels' is missing"),
        ({"channels": [8, 8], "skips": [True], "input_channels": 3}, "'output_channels' is missing"),
        ({**original().to_dict(), "code": "import os"}, "unknown key 'code'"),
        ({**original().to_dict(), 7: 1}, "unknown key '7'"),
    ],
)
def test_untrusted_tables_are_refused_in_one_line(data: object, part: str) -> None:
    with pytest.raises(UsageError) as error:
        UNetArchitecture.from_dict(data)
    assert_one_line(error, part)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ({"channels": ()}, ("channels", "at least one")),
        ({"channels": (64, 0)}, ("channels", "0", "1 to 65536")),
        ({"channels": (64, -1)}, ("channels", "-1")),
        ({"channels": (64, 64)}, ("channels", "twice")),
        ({"channels": 64}, ("channels", "list")),
        ({"depth": 1}, ("depth", "1", "2 to 16")),
        ({"depth": 17}, ("depth", "17")),
        ({"depth": 8.0}, ("depth", "8.0")),
        ({"input_channels": 0}, ("input_channels", "0")),
    ],
)
def test_bad_spaces_are_refused_in_one_line(arguments: dict[str, object], parts: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as error:
        UNetSpace(**arguments)  # type: ignore[arg-type]
    assert_one_line(error, *parts)


GENOME = {"c1_1": 4, "c1_2": 6, "c1_3": 8, "c2_1": 1, "c2_2": 0}


@pytest.mark.parametrize(
    ("genome", "parts"),
    [
        ({**GENOME, "c1_2": 5}, ("c1_2", "5", "[4, 6, 8]")),
        ({**GENOME, "c2_1": 2}, ("c2_1", "2", "[0, 1]")),
        ({**GENOME, "c2_1": 1.0}, ("c2_1", "1.0")),
        ({**GENOME, "c1_4": 4}, ("unknown gene 'c1_4'",)),
        ({name: value for name, value in GENOME.items() if name != "c1_3"}, ("c1_3", "missing")),
    ],
)
def test_genomes_outside_the_space_are_refused_in_one_line(genome: dict[str, int], parts: tuple[str, ...]) -> None:
    assert GENOME in SMALL
    assert genome not in SMALL
    with pytest.raises(UsageError) as error:
        SMALL.architecture(genome)
    assert_one_line(error, *parts)


@pytest.mark.parametrize(
    ("architecture", "part"),
    [
        (UNetArchitecture((4, 6, 5), (True, True), 1, 2), "c1_3 = 5"),
        (UNetArchitecture((4, 6), (True,), 1, 2), "depth = 2"),
        (UNetArchitecture((4, 6, 8), (True, True), 3, 2), "input_channels = 3"),
        (UNetArchitecture((4, 6, 8), (True, True), 1, 3), "output_channels = 3"),
    ],
)
def test_architectures_outside_the_space_have_no_genome(architecture: UNetArchitecture, part: str) -> None:
    assert architecture not in SMALL
    with pytest.raises(UsageError) as error:
        SMALL.genome(architecture)
    assert_one_line(error, part)


def test_what_is_no_genome_is_not_in_the_space() -> None:
    assert (4, 6, 8, 1, 0) not in SMALL
    assert None not in SMALL


@pytest.mark.parametrize("size", [(0, 8), (8, 12), (4, 8), (-8, 8), (8, 8.0), (8, True)])
def test_sizes_that_cannot_be_halved_are_refused(size: tuple[int, int]) -> None:
    architecture = UNetArchitecture((4, 6, 8), (True, True))
    architecture.check_size(8, 24)
    with pytest.raises(UsageError) as error:
        architecture.check_size(*size)
    assert_one_line(error, "multiple of 8", "width" if size[0] == 8 else "height")
