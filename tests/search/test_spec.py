"""Specifications: good ones are read whole, bad ones answered with one line."""

from pathlib import Path
from typing import get_args

import pytest

from optevo.errors import UsageError
from optevo.evolution.mutation import MUTATIONS
from optevo.evolution.scaling import SCALINGS
from optevo.search.spec import SamplerSettings, find_spec, parse_spec, read_spec, ready_specs

MINIMAL = '[data]\nroot = "pairs"\n'


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_the_paper_s_numbers_are_the_defaults(tmp_path: Path):
    spec = read_spec(write(tmp_path, MINIMAL))
    sampler = spec.sampler
    assert (sampler.selection, sampler.crossover, sampler.mutation) == (0.2, 0.7, 0.1)
    assert spec.training.l1_weight == 100
    assert spec.space.channels == (64, 128, 256, 512)
    assert spec.space.depth == 8
    assert spec.data.size == (256, 256)
    assert spec.training.learning_rate == 2e-4
    assert (spec.training.beta1, spec.training.beta2) == (0.5, 0.999)


def test_a_preset_fills_in_what_the_specification_does_not_say(tmp_path: Path):
    paper = read_spec(write(tmp_path, MINIMAL + '[sampler]\npreset = "paper"\nelites = 2\n')).sampler
    assert (paper.population, paper.scaling, paper.duplicates) == (32, "proportional", "keep")
    assert (paper.elites, paper.archive, paper.candidates, paper.founders) == (2, 0, 0, "random")
    screened = read_spec(write(tmp_path, MINIMAL)).sampler
    assert (screened.preset, screened.scaling, screened.duplicates) == ("screened", "rank", "mutate")
    assert screened.candidates > screened.population
    assert screened.founders == "balanced"
    # What is stored with a study says everything, so a later release may change its presets.
    assert SamplerSettings.model_validate(screened.model_dump()) == screened


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "data: missing"),
        (MINIMAL + "[sampler]\npreset = 'best'\n", 'sampler.preset = "best"'),
        ("[data]\n", "data.root: missing"),
        ("[data\n", "not valid TOML"),
        (MINIMAL + "colour = 1\n", "data.colour: unknown key"),
        (MINIMAL + "[nonsense]\nx = 1\n", "nonsense: unknown key"),
        (MINIMAL + "[sampler]\nmutation = 0.5\n", "must add up to 1"),
        (MINIMAL + "[sampler]\npopulation = 'many'\n", 'sampler.population = "many"'),
        (MINIMAL + "[sampler]\npopulation = 4\nelites = 4\n", "below sampler.population"),
        (MINIMAL + "[space]\nchannels = [8, 0]\n", "space.channels = 0"),
        (MINIMAL + "[space]\nchannels = [8, -4]\n", "space.channels = -4"),
        (MINIMAL + "[space]\nchannels = [8, 8]\n", "every channel number must differ"),
        (MINIMAL + "[space]\nchannels = []\n", "space.channels"),
        (MINIMAL + "size = 100\n", "data.size has a height of 100"),
        (MINIMAL + "size = [256, 128]\n", "data.size has a width of 128"),
        (MINIMAL + "size = 16\n[space]\ndepth = 4\n", "needs 24 pixels"),
        (MINIMAL + "[fitness]\ngamma = nan\n", "fitness.gamma"),
        (MINIMAL + "[engine]\nprecision = 'fp64'\n", "engine.precision"),
        ("seed = -1\n" + MINIMAL, "seed = -1"),
        ("system = 'cyclegan'\n" + MINIMAL, "system"),
    ],
)
def test_a_mistake_is_one_line_with_file_key_and_cure(tmp_path: Path, text: str, says: str):
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as error:
        read_spec(path)
    message = str(error.value)
    assert says in message
    assert message.startswith(str(path))
    assert "\n" not in message


def test_overrides_go_on_top(tmp_path: Path):
    path = write(tmp_path, MINIMAL)
    spec = read_spec(path, overrides=["sampler.population=6", "data.root=a b/c", "data.size=[512, 256]", "seed=3"])
    assert (spec.sampler.population, spec.data.root, spec.data.size, spec.seed) == (6, "a b/c", (512, 256), 3)


@pytest.mark.parametrize("override", ["population", "=3", "sampler..x=1", "data.root.x=1"])
def test_an_override_of_another_form_is_refused(tmp_path: Path, override: str):
    with pytest.raises(UsageError, match="--set"):
        read_spec(write(tmp_path, MINIMAL), overrides=[override])


def test_what_is_stored_is_read_back_equal(tmp_path: Path):
    spec = read_spec(write(tmp_path, MINIMAL))
    assert parse_spec(spec.model_dump(mode="json"), source="store") == spec


@pytest.mark.parametrize("name", ready_specs())
def test_ready_specifications_are_valid(name: str):
    endings = {"coevolution": "coevolution", "recipes": "cegan", "cegan": "cegan", "egan": "cegan"}
    assert read_spec(find_spec(name)).system == endings.get(name.rpartition("-")[2], "unet")


def test_a_specification_that_is_not_there_names_the_ready_ones():
    with pytest.raises(UsageError, match="quickstart"):
        read_spec(find_spec("no-such-thing"))


def test_names_of_scalings_and_mutations_are_the_evolution_s():
    fields = SamplerSettings.model_fields
    assert set(get_args(fields["scaling"].annotation)) == set(SCALINGS)
    assert set(get_args(fields["mutation_kind"].annotation)) == set(MUTATIONS)
