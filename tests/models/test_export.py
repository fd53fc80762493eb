"""Exports: what the file computes is measured, and what computes something else is not let out."""

import logging
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from sample_images import ab_folder
from tiny_models import tiny_model

from optevo.errors import OptevoError, UsageError
from optevo.models import export as exporting
from optevo.models.export import ExportReport, export_model, largest_difference
from optevo.models.folder import load_generator
from optevo.models.onnx_file import PREFIX, ExportFacts, open_onnx, require

needs_onnx = pytest.mark.skipif(
    any(find_spec(module) is None for module in ("onnx", "onnxscript", "onnxruntime")),
    reason="ONNX needs the extra: pip install 'optevo[onnx]'",
)
if find_spec("onnx") is not None:
    import onnx


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("export") / "model")


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export_model(model, format="onnx", out=tmp_path_factory.mktemp("onnx") / "g.onnx")


def pictures(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


@needs_onnx
def test_the_report_states_what_was_measured(exported: ExportReport):
    assert exported.path.exists()
    assert exported.file_bytes == exported.path.stat().st_size
    assert (exported.opset, exported.multiple, exported.size, exported.half) == (18, 8, None, False)
    assert 0 < exported.largest_difference < 1e-5
    assert exported.tolerance == 1e-3
    assert exported.images == "drawn facades"
    assert len({shape[0] for shape in exported.shapes}) > 1
    assert any(height != width for _, _, height, width in exported.shapes)
    assert exported.runtime.startswith("onnxruntime")


@needs_onnx
@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 3, 32, 32), (2, 3, 16, 72), (5, 3, 40, 8)])
def test_onnx_takes_any_batch_height_and_width(model: Path, exported: ExportReport, shape: tuple[int, ...]):
    images = pictures(*shape)
    wanted = load_generator(model)(images)
    got = open_onnx(exported.path, device="cpu")(images.numpy())
    assert wanted.std() > 0.05
    assert abs(got - wanted.numpy()).max() < 1e-5


@needs_onnx
@pytest.mark.parametrize(
    ("channels", "skips"), [((2, 3), (True,)), ((2, 3), (False,)), ((2, 3, 2, 4, 3), (True, True, True, True))]
)
def test_other_architectures_are_not_specialised_to_a_size(
    tmp_path: Path, channels: tuple[int, ...], skips: tuple[bool, ...]
):
    folder = tiny_model(tmp_path / "m", channels=channels, skips=skips, images=(1, 3), size=(64, 32))
    report = export_model(folder, format="onnx")
    assert report.path == folder / "generator.onnx"
    assert report.shapes[0] == (1, 1, 64, 32)
    graph = onnx.load(report.path).graph
    names = [[dim.dim_param for dim in one.type.tensor_type.shape.dim] for one in (graph.input[0], graph.output[0])]
    multiple = 2 ** len(channels)
    assert names == [["batch", "", f"{multiple}*rows", f"{multiple}*columns"]] * 2


@needs_onnx
def test_the_file_says_what_it_is(exported: ExportReport):
    facts = open_onnx(exported.path, device="cpu").facts
    assert (facts.direction, facts.multiple, facts.input_channels, facts.output_channels) == ("BtoA", 8, 3, 3)
    assert (facts.height, facts.width, facts.half) == (32, 32, False)
    assert ExportFacts.from_metadata(facts.to_metadata(), path=Path("x")) == facts
    stored = onnx.load(exported.path)
    assert {entry.key for entry in stored.metadata_props} >= {f"{PREFIX}multiple", f"{PREFIX}version"}
    assert [entry.version for entry in stored.opset_import if not entry.domain] == [18]


@needs_onnx
def test_half_precision_is_half_the_file_and_near_enough(model: Path, tmp_path: Path):
    wide = tiny_model(tmp_path / "wide", channels=(16, 32, 32))
    whole, half = (export_model(wide, format="onnx", half=half) for half in (False, True))
    assert half.path.name == "generator-fp16.onnx"
    assert half.file_bytes < 0.6 * whole.file_bytes
    assert whole.largest_difference < half.largest_difference <= half.tolerance == 2e-2
    opened = open_onnx(half.path, device="cpu")
    assert opened.session.get_inputs()[0].type == opened.session.get_outputs()[0].type == "tensor(float16)"
    assert opened.facts.half
    assert opened(pictures(1, 3, 8, 8).numpy()).dtype == "float32"


@pytest.mark.parametrize("half", [False, True])
def test_pt2_is_fixed_to_its_size(model: Path, tmp_path: Path, half: bool):
    report = export_model(model, format="pt2", half=half, size=(16, 24), out=tmp_path / "g.pt2")
    assert (report.size, report.opset) == ((16, 24), None)
    assert report.shapes == ((1, 3, 16, 24), (3, 3, 16, 24))
    stored = {exporting.PT2_FACTS: ""}
    module = torch.export.load(report.path, extra_files=stored).module()
    assert '"multiple": 8' in stored[exporting.PT2_FACTS]
    images = pictures(5, 3, 16, 24)
    got = module(images.half() if half else images)
    assert got.dtype == (torch.float16 if half else torch.float32)
    difference = float((got.float() - load_generator(model)(images)).abs().max())
    assert difference <= (2e-2 if half else 1e-6)
    assert (report.largest_difference > 0) == half
    with pytest.raises(AssertionError, match="size"):
        module(pictures(1, 3, 16, 16))


@needs_onnx
def test_exports_are_re_run_on_the_user_s_own_images(model: Path, tmp_path: Path):
    root = ab_folder(tmp_path / "pairs", {"train": 2, "test": 2}, size=(40, 24))
    report = export_model(model, format="onnx", images=root, out=tmp_path / "a.onnx")
    assert report.images == str(root)
    assert report.largest_difference < 1e-5
    given = export_model(model, format="onnx", images=[pictures(3, 50, 20)], out=tmp_path / "b.onnx")
    assert given.images == "given tensors"


@pytest.mark.parametrize(
    ("format", "half"),
    [
        pytest.param("onnx", False, marks=needs_onnx),
        pytest.param("onnx", True, marks=needs_onnx),
        ("pt2", True),
    ],
)
def test_an_export_beyond_the_bound_is_refused(model: Path, tmp_path: Path, format: str, half: bool):
    with pytest.raises(OptevoError, match=r"not written.*--tolerance") as error:
        export_model(model, format=format, half=half, out=tmp_path / f"g.{format}", tolerance=0.0)
    assert not isinstance(error.value, UsageError)
    assert ("leave --half out" in str(error.value)) == half
    assert list(tmp_path.iterdir()) == []


@needs_onnx
def test_an_exporter_that_computes_something_else_is_caught(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write = exporting._write_onnx

    def wrong(generator, path, **others):
        with torch.no_grad():
            generator.decoder[0].conv.bias += 0.5
        write(generator, path, **others)

    monkeypatch.setattr(exporting, "_write_onnx", wrong)
    with pytest.raises(OptevoError, match="differ from the model's by up to"):
        export_model(model, format="onnx", out=tmp_path / "g.onnx")
    assert list(tmp_path.iterdir()) == []


@needs_onnx
@pytest.mark.parametrize("value", [0.7, float("nan")])
def test_a_perturbed_file_shows_in_the_difference(model: Path, exported: ExportReport, tmp_path: Path, value: float):
    stored = onnx.load(exported.path)
    bias = next(one for one in stored.graph.initializer if list(one.dims) == [3])
    bias.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(bias) + value, bias.name))
    onnx.save(stored, tmp_path / "bad.onnx")
    difference = largest_difference(tmp_path / "bad.onnx", load_generator(model), [pictures(1, 3, 8, 8)])
    assert not difference <= 0.1


def test_a_model_too_large_for_half_precision_is_refused(tmp_path: Path):
    folder = tiny_model(tmp_path / "m", gain=1e9)  # its last layer overflows float16
    with pytest.raises(OptevoError, match="by up to nan"):
        export_model(folder, format="pt2", half=True)
    assert not list(folder.glob("*.pt2"))


@needs_onnx
def test_a_failing_exporter_is_one_line_and_leaves_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fails(*_: object, **__: object) -> None:
        raise ValueError("first line\nsecond line")

    monkeypatch.setattr(torch.onnx, "export", fails)
    with pytest.raises(OptevoError, match="first line second line") as error:
        export_model(model, format="onnx", out=tmp_path / "g.onnx")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@needs_onnx
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"format": "tflite"}, "format = 'tflite'"),
        ({"format": "onnx", "tolerance": -1.0}, "tolerance = -1.0"),
        ({"format": "onnx", "tolerance": float("nan")}, "tolerance = nan"),
        ({"format": "onnx", "size": (32, 32)}, "takes every size"),
        ({"format": "pt2", "size": (32, 30)}, "width = 30.*multiple of 8"),
        ({"format": "onnx", "out": Path("g.pt2")}, "must end in .onnx"),
        ({"format": "onnx", "images": []}, "images: none"),
        ({"format": "onnx", "images": [torch.zeros(1, 8, 8)]}, r"images: a shape of \(1, 8, 8\)"),
        ({"format": "onnx", "images": Path("nowhere")}, "nowhere: there is no such folder"),
    ],
)
def test_wrong_arguments_are_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict, says: str
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=says):
        export_model(model, **{"out": Path("g." + arguments["format"]), **arguments})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_not_overwritten(model: Path, tmp_path: Path):
    (tmp_path / "g.onnx").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        export_model(model, format="onnx", out=tmp_path / "g.onnx")
    assert (tmp_path / "g.onnx").read_text() == "mine"


def test_missing_packages_are_named_with_their_cure():
    with pytest.raises(UsageError, match=r"no_such_package.*pip install 'optevo\[onnx\]'"):
        require("onnxruntime", "no_such_package")


@needs_onnx
def test_exporters_are_silent(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture, caplog):
    with caplog.at_level(logging.INFO):
        export_model(model, format="onnx", out=tmp_path / "g.onnx")
        export_model(model, format="pt2", out=tmp_path / "g.pt2")
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


@needs_onnx
@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("multiple", None, "no optevo.multiple"),
        ("multiple", "0", "optevo.multiple = '0'"),
        ("input_channels", "2", "optevo.input_channels = '2'"),
        ("height", "9" * 100, "optevo.height = '9999"),
        ("latent", "-1", "optevo.latent = '-1'"),
        ("latent", "4", "optevo.input_channels = '3'"),
    ],
)
def test_metadata_of_anybody_is_not_believed(exported: ExportReport, tmp_path: Path, key: str, value, says: str):
    stored = onnx.load(exported.path)
    metadata = {entry.key: entry.value for entry in stored.metadata_props if entry.key != f"{PREFIX}{key}"}
    onnx.helper.set_model_props(stored, metadata | ({} if value is None else {f"{PREFIX}{key}": value}))
    onnx.save(stored, tmp_path / "foreign.onnx")
    with pytest.raises(UsageError, match=says):
        open_onnx(tmp_path / "foreign.onnx", device="cpu")


@needs_onnx
def test_files_that_are_no_onnx_are_refused(tmp_path: Path):
    (tmp_path / "x.onnx").write_bytes(b"not onnx")
    with pytest.raises(UsageError, match="is no ONNX file") as error:
        open_onnx(tmp_path / "x.onnx", device="cpu")
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="no such file"):
        open_onnx(tmp_path / "y.onnx")


@needs_onnx
@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cuda:7"])
def test_devices_that_onnxruntime_lacks_are_refused(exported: ExportReport, device: str):
    with pytest.raises(UsageError, match="device = "):
        open_onnx(exported.path, device=device)
