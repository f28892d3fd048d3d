"""What TensorFlow Serving tells Prometheus, as far as our dashboard and alerts look at it.

There is no `tensorflow_model_server` where the tests run, so names and labels are those that its
source registers: `tensorflow_serving/servables/tensorflow/util.cc` (requests, latencies; of 2022,
when `status` had become the name of a status code) and `tensorflow/cc/saved_model/loader.cc`
(versions). `tensorflow_serving/util/prometheus_exporter.cc` makes `:` of every `/` in a name, adds
`_bucket`, `_sum` and `_count`, and appends no `_total`.
"""

_LATENCY = {
    "request_latency": {"model_name", "API", "entrypoint"},
    "runtime_latency": {"model_name", "API", "runtime"},
}

LABELS: dict[str, set[str]] = {
    ":tensorflow:serving:request_count": {"model_name", "status"},
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
    ":tensorflow:cc:saved_model:load_latency": {"model_path"},
    **{
        f":tensorflow:serving:{name}_{part}": labels | ({"le"} if part == "bucket" else set())
        for name, labels in _LATENCY.items()
        for part in ("bucket", "sum", "count")
    },
}
"""`{name: labels}` of its samples."""

STATUSES = {
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND"),
    *("ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED"),
    *("FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL"),
    *("UNAVAILABLE", "DATA_LOSS"),
}
"""Values of `status` of `request_count`, `tensorflow/core/protobuf/error_codes.proto`."""

LOADS = {"success", "fail"}
"""Values of `status` of `load_attempt_count`."""
