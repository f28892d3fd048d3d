"""The templates for TensorFlow Serving say what its protos can read."""

from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from data_prep import InputError
from serving.server.model_config import read_model_config

FOLDER = Path(__file__).parents[2] / "serving" / "deploy"
FIELD = descriptor_pb2.FieldDescriptorProto

# tensorflow-serving-api comes without these two, so their fields are declared here by the names,
# numbers and types that TensorFlow Serving documents.
WRAPPED = {"max_batch_size": 1, "batch_timeout_micros": 2, "max_enqueued_batches": 3}
WRAPPED |= {"num_batch_threads": 4}


@pytest.fixture(scope="module")
def messages():
    file = descriptor_pb2.FileDescriptorProto(
        name="serving_configs.proto",
        package="declared",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    batching = file.message_type.add(name="BatchingParameters")
    optional = FIELD.LABEL_OPTIONAL
    for name, number in WRAPPED.items():
        batching.field.add(
            name=name, number=number, label=optional, type=FIELD.TYPE_MESSAGE
        ).type_name = ".google.protobuf.Int64Value"
    batching.field.add(
        name="allowed_batch_sizes", number=6, label=FIELD.LABEL_REPEATED, type=FIELD.TYPE_INT64
    )
    batching.field.add(
        name="pad_variable_length_inputs", number=7, label=optional, type=FIELD.TYPE_BOOL
    )
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, label=optional, type=FIELD.TYPE_BOOL)
    prometheus.field.add(name="path", number=2, label=optional, type=FIELD.TYPE_STRING)
    monitoring = file.message_type.add(name="MonitoringConfig")
    monitoring.field.add(
        name="prometheus_config", number=1, label=optional, type=FIELD.TYPE_MESSAGE
    ).type_name = ".declared.PrometheusConfig"

    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pool.Default().FindFileByName("google/protobuf/wrappers.proto")
    pool.AddSerializedFile(wrappers.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return lambda name: message_factory.GetMessageClass(
        pool.FindMessageTypeByName(f"declared.{name}")
    )()


def template(name):
    return (FOLDER / name).read_text(encoding="utf-8")


def test_models_config_names_versions_that_a_fresh_export_has(served):
    config = text_format.Parse(template("models.config"), ModelServerConfig())
    (model,) = config.model_config_list.config
    assert model.model_platform == "tensorflow"
    assert dict(model.version_labels) == {"stable": int(served.version.name)}
    assert model.name == served.base.name
    read = read_model_config(FOLDER / "models.config")
    assert (read.name, read.labels) == (model.name, dict(model.version_labels))
    assert list(read.wanted([1, 2, 5])) == [2, 5]
    assert list(read.wanted([1])) == [1]


def test_batching_config(messages):
    batching = text_format.Parse(template("batching.config"), messages("BatchingParameters"))
    assert batching.pad_variable_length_inputs  # histories differ in length
    assert batching.max_batch_size.value > 1 and batching.num_batch_threads.value >= 1


def test_monitoring_config(messages):
    monitoring = text_format.Parse(template("monitoring.config"), messages("MonitoringConfig"))
    assert monitoring.prometheus_config.enable
    assert monitoring.prometheus_config.path == "/metrics"


def test_docker_compose_mounts_what_its_flags_name():
    (service,) = yaml.safe_load(template("docker-compose.yml"))["services"].values()
    (model,) = text_format.Parse(
        template("models.config"), ModelServerConfig()
    ).model_config_list.config
    targets = {volume.rsplit(":", 2)[1] for volume in service["volumes"]}
    assert model.base_path in targets
    files = [flag.split("=")[1] for flag in service["command"] if "_file=" in flag]
    assert len(files) == 2
    for file in files:
        assert str(Path(file).parent) in targets and (FOLDER / Path(file).name).exists()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


POLICIES = {
    "": [9],
    "model_version_policy { latest { } }": [9],
    "model_version_policy { latest { num_versions: 3 } }": [2, 5, 9],
    "model_version_policy { latest { num_versions: 99 } }": [1, 2, 5, 9],
    "model_version_policy { all { } }": [1, 2, 5, 9],
    "model_version_policy { specific { versions: 5 versions: 1 versions: 7 } }": [1, 5],
}


@pytest.mark.parametrize("policy", POLICIES)
def test_version_policies(tmp_path, policy):
    file = tmp_path / "models.config"
    file.write_text(f'model_config_list {{ config {{ name: "m" {policy} }} }}')
    assert list(read_model_config(file).wanted([1, 2, 5, 9])) == POLICIES[policy]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "model_config_list { config { } }",
        'model_config_list { config { name: "a" } config { name: "b" } }',
        "model_config_list {",
        'model_config_list { config { nmae: "a" } }',
        "\xff",
    ],
)
def test_a_file_that_is_no_models_config_is_one_clear_error(tmp_path, text):
    file = tmp_path / "models.config"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=f"--model_config_file {file}: "):
        read_model_config(file)
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match="not a ModelServerConfig") as error:
        read_model_config(file)
    assert len(str(error.value)) < 1000
    with pytest.raises(InputError, match="cannot be read"):
        read_model_config(tmp_path / "missing")
