"""A backbone's file is read with its settings, and refused in one message where it could do more than compute."""

import keras
import numpy as np
import onnx
import pytest
from onnx import helper

from tests.inputs.made_backbones import FEATURES, SIZE, keras_backbone, onnx_backbone
from xraytune.errors import InputError, WeightsError
from xraytune.models import FAMILIES
from xraytune.models.file_backbones import reading
from xraytune.models.file_backbones.backbone import FileBackbone, settings

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras, when it saves


def read(path, settings="imagenet", name="small"):
    return reading.read({name: str(path)}, {name: settings} if settings else {}, {}, FAMILIES)[name]


@pytest.mark.parametrize(
    ("kind", "features"), [("map", (16, 16, FEATURES)), ("tokens", (256, 1, FEATURES)), ("vector", (1, 1, FEATURES))]
)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_an_onnx_file_says_its_size_channels_layout_features_and_cost(tmp_path, layout, kind, features):
    found = read(onnx_backbone(tmp_path / "s.onnx", kind=kind, layout=layout))
    assert (found.image_size, found.colours, found.layout, found.features) == (SIZE, "rgb", layout, features)
    assert found.gflop == pytest.approx(2 * 27 * FEATURES * 16 * 16 / 1e9, abs=1e-4)
    assert found.licence == "unknown"
    assert FileBackbone.from_json(found.to_json()) == found


def test_a_keras_file_says_the_same(tmp_path):
    found = read(keras_backbone(tmp_path / "s.keras", channels=1))
    assert (found.image_size, found.colours, found.features) == (SIZE, "gray", (16, 16, FEATURES))
    assert found.gflop == pytest.approx(2 * 9 * FEATURES * 16 * 16 / 1e9, abs=1e-4)


def test_settings_are_read_from_the_file_and_what_is_given_wins(tmp_path):
    path = onnx_backbone(tmp_path / "s.onnx", metadata="bgr,caffe")
    assert (read(path, "").colours, read(path, "").normalization) == ("bgr", "caffe")
    assert (read(path, "unit").colours, read(path, "unit").normalization) == ("bgr", "unit")


def test_a_keras_file_that_scales_pixels_itself_needs_no_settings(tmp_path):
    path = keras_backbone(tmp_path / "s.keras", first=[keras.layers.Rescaling(1 / 255)])
    assert read(path, "").normalization == "pixels"


def test_a_dynamic_size_is_what_is_given(tmp_path):
    path = onnx_backbone(tmp_path / "s.onnx", dims=("n", 3, "h", "w"))
    assert read(path, "48,unit").features == (24, 24, FEATURES)
    with pytest.raises(InputError, match="no fixed square size"):
        read(path, "unit")


def test_the_output_is_named_where_there_are_several(tmp_path):
    def second(model):
        model.graph.output.append(helper.make_tensor_value_info("map", 1, ["n", FEATURES, 16, 16]))

    path = onnx_backbone(tmp_path / "s.onnx", kind="vector", change=second)
    with pytest.raises(InputError, match=r"several outputs.*out, map"):
        read(path)
    assert read(path, "imagenet,output=map").features == (16, 16, FEATURES)
    with pytest.raises(InputError, match="no output 'none'"):
        read(path, "imagenet,output=none")


def outside(model):
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    tensor.ClearField("raw_data")


def foreign(model):
    model.graph.node[1].domain = "evil.ops"
    model.opset_import.append(helper.make_opsetid("evil.ops", 1))


def foreign_in_a_branch(model):
    branch = helper.make_graph([helper.make_node("Leak", [], ["x"], domain="evil.ops")], "b", [], [])
    model.graph.node.append(helper.make_node("If", ["cond"], [], then_branch=branch, else_branch=branch))


def outside_in_an_attribute(model):
    tensor = onnx.TensorProto(name="t", data_type=1, dims=[1], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    model.graph.node.append(helper.make_node("Constant", [], ["t"], value=tensor))


def two_inputs(model):
    model.graph.input.append(helper.make_tensor_value_info("age", 1, ["n", 1]))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (outside, "weights are in other files .*secret.bin"),
        (outside_in_an_attribute, "weights are in other files .*passwd"),
        (foreign, "operators outside the ONNX standard .evil.ops.Relu"),
        (foreign_in_a_branch, "operators outside the ONNX standard .evil.ops.Leak"),
        (two_inputs, "2 inputs .image, age"),
    ],
)
def test_an_onnx_file_that_is_no_plain_network_is_refused(tmp_path, change, said):
    with pytest.raises(InputError, match=said) as refused:
        read(onnx_backbone(tmp_path / "s.onnx", change=change))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("dims", "asked", "said"),
    [
        ((1, 3, 32, 32), "unit", "exactly 1 images at a time"),
        (("n", 3, 32, 48), "unit", "no fixed square size"),
        (("n", 3, 32, 32), "64,unit", "64 px rgb in nchw was asked for"),
        (("n", 3, 32, 32), "gray,unit", "32 px gray in nchw was asked for"),
        (("n", "c", 32, 32), "unit", "does not say its layout"),
        (("n", 3, 32, 32), "", "does not say what its pixel values must be"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(tmp_path, dims, asked, said):
    with pytest.raises(InputError, match=said):
        read(onnx_backbone(tmp_path / "s.onnx", dims=dims), asked)


def test_a_keras_file_with_code_is_refused_before_it_is_loaded(tmp_path, monkeypatch):
    path = keras_backbone(tmp_path / "s.keras", layers=[keras.layers.Lambda(lambda x: x * 2)])
    monkeypatch.setattr(keras.saving, "load_model", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(InputError, match=r"Lambda .* may run code"):
        read(path)


@keras.saving.register_keras_serializable(package="theirs")
class Theirs(keras.layers.Layer):
    def call(self, x):
        return x


def test_a_keras_file_with_a_layer_of_its_makers_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"Theirs .* may run code"):
        read(keras_backbone(tmp_path / "s.keras", layers=[Theirs()]))


def test_a_keras_file_with_two_inputs_is_refused(tmp_path):
    one, two = keras.Input((SIZE, SIZE, 3)), keras.Input((4,))
    mean = keras.layers.GlobalAveragePooling2D()(one)
    keras.Model([one, two], keras.layers.Concatenate()([mean, two])).save(tmp_path / "s.keras")
    with pytest.raises(InputError, match="2 inputs and 1 outputs"):
        read(tmp_path / "s.keras")


@pytest.mark.parametrize(
    ("name", "said"), [("s.onnx", "damaged"), ("s.keras", "damaged"), ("s.h5", "ONNX .* or Keras"), ("", "ONNX")]
)
def test_what_is_no_such_file_is_refused(tmp_path, name, said):
    (tmp_path / "file").write_bytes(b"nothing")
    path = tmp_path / name
    if name:
        path.write_bytes(b"no network at all")
    with pytest.raises(InputError, match=said):
        read(path)


@pytest.mark.parametrize("name", ["cnn", "vgg_frozen", "Dino", "a b", "../x", ""])
def test_a_name_that_is_no_new_familys_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="name"):
        reading.read({name: str(tmp_path)}, {}, {}, FAMILIES)


def test_settings_of_no_backbone_are_refused():
    with pytest.raises(InputError, match="--backbone-input dino=…: no --backbone dino=FILE"):
        reading.read({}, {"dino": "224"}, {}, FAMILIES)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("224,224", "size is given twice"),
        ("rgb,gray", "colours is given twice"),
        ("imagnet", "'imagnet' is not known"),
        ("mean=0.5", "give mean=M and std=S together"),
        ("mean=0.5,std=0.2,unit", "give mean=M and std=S together"),
        ("mean=a,std=1", "'mean=a' is not known"),
        ("0", "'0' is not known"),
    ],
)
def test_settings_that_say_nothing_or_two_things_are_refused(text, said):
    with pytest.raises(InputError, match=said):
        settings(text, "--backbone-input")


def test_a_studys_backbone_may_have_moved_but_not_changed(tmp_path):
    stored = {"small": read(onnx_backbone(tmp_path / "s.onnx")).to_json()}
    (tmp_path / "s.onnx").rename(tmp_path / "moved.onnx")
    with pytest.raises(WeightsError, match=r"s.onnx can't be read.*--backbone small=FILE"):
        reading.kept(stored, {}, "mine")
    moved = {"small": str(tmp_path / "moved.onnx")}
    assert reading.kept(stored, moved, "mine")["small"].path == moved["small"]
    onnx_backbone(tmp_path / "moved.onnx", seed=1)
    with pytest.raises(WeightsError, match="is not the file of backbone small that study 'mine'") as refused:
        reading.kept(stored, moved, "mine")
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="no such backbone"):
        reading.kept(stored, {"other": "x.onnx"}, "mine")


def test_pixels_become_what_each_normalization_says(tmp_path):
    path = onnx_backbone(tmp_path / "s.onnx")
    pixels = np.array([[0.0, 51.0, 255.0]])
    wanted = {
        "unit": pixels / 255,
        "centered": pixels / 127.5 - 1,
        "pixels": pixels,
        "xrv": pixels / 255 * 2048 - 1024,
        "imagenet": (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
        "caffe": (pixels - [123.68, 116.779, 103.939])[:, ::-1],
        "mean=0.5/0.4/0.3,std=0.2": (pixels / 255 - [0.5, 0.4, 0.3]) / 0.2,
    }
    for how, values in wanted.items():
        matrix, offset = read(path, how).mixing(3)
        assert pixels @ matrix + offset == pytest.approx(values, rel=1e-4, abs=1e-4), how


def test_gray_is_repeated_and_colour_becomes_gray(tmp_path):
    matrix, offset = read(onnx_backbone(tmp_path / "s.onnx"), "unit").mixing(1)
    assert np.array([[255.0]]) @ matrix + offset == pytest.approx(np.ones((1, 3)))
    matrix, offset = read(onnx_backbone(tmp_path / "g.onnx", channels=1), "pixels").mixing(3)
    assert np.array([[10.0, 20.0, 30.0]]) @ matrix + offset == pytest.approx(np.array([[18.15]]), abs=1e-3)
