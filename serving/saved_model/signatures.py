"""The signatures of the SavedModel: by which inputs each is asked, and what it answers."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

import tensorflow as tf

if TYPE_CHECKING:
    from serving.saved_model.recommender import Recommender

INPUTS = {
    spec.name: spec
    for spec in (
        # Raw item ids, oldest first; "" and unknown ids are passed over.
        tf.TensorSpec([None, None], tf.string, name="items"),
        # The domain to recommend in; "": every domain.
        tf.TensorSpec([None], tf.string, name="domain"),
        # Answers wanted, from 1 to `max_k`; the output is as wide as the largest.
        tf.TensorSpec([None], tf.int32, name="k"),
        # Whether items of the history may not come back, whatever the rule of the domain is.
        tf.TensorSpec([None], tf.bool, name="exclude_seen"),
        # Raw item ids that may be answered; a row of "" alone: all may.
        tf.TensorSpec([None, None], tf.string, name="allow"),
        # Raw item ids that may not be answered; "" is none.
        tf.TensorSpec([None, None], tf.string, name="deny"),
        # Raw item ids whose scores are explained; "" is none.
        tf.TensorSpec([None, None], tf.string, name="candidates"),
        # When the items were, in the unit of the log (seconds since 1970, or milli-, micro- or
        # nanoseconds); all 0 in a row of which that is not known.
        tf.TensorSpec([None, None], tf.float64, name="timestamps"),
        # When the answer is wanted; 0 where that is not known.
        tf.TensorSpec([None], tf.float64, name="now"),
        # Raw user ids, of a model that knows users.
        tf.TensorSpec([None], tf.string, name="user_id"),
    )
}
"""What a request may say of each of its rows."""


def signatures_of(recommender: "Recommender") -> dict[str, Callable]:
    """What the SavedModel is asked by; all but the last two share one graph.

    - `serving_default`, `top_k`, `with_times`, `filtered`, `with_options`: answers in the domain of
      each row: `items`, `scores`, `domains`, all `[batch, k]`, best first, filled up with `""` and
      0 where a domain has too few items; `known_items` and `fallback`, `[batch]`. For every domain
      (`""`), scores are log-probabilities of what comes next (`score_terms.domain_mixture`).
    - `each_domain`, `each_domain_filtered`: what `top_k` or `filtered` answer in each domain, all
      by one pass of the network: `items`, `scores`: `[batch, domains, k]`; `domains`: `[batch,
      domains]`; `known_items` and `fallback`, `[batch]`.
    - `explain`, and of a model that is asked by histories `explain_items`: see `Recommender`.

    Args:
        recommender: answers.

    Returns:
        `{name: tf.function}`, each of the inputs of its row below, in that order. Times are inputs
        of a model in whose score they have a say, and user ids of a model that knows users.
    """
    times = ("timestamps", "now") if recommender.timed else ()
    inputs = {
        "serving_default": ("items", "domain"),
        "top_k": ("items", "domain", "k"),
        "filtered": ("items", "domain", "k", "allow", "deny", *times),
        "with_options": ("items", "domain", "k", "exclude_seen", "allow", "deny", *times),
        "each_domain": ("items", "k", *times),
        "each_domain_filtered": ("items", "k", "allow", "deny", *times),
        **({"with_times": ("items", "domain", "k", *times)} if times else {}),
    }
    user = ("user_id",) if recommender.knows_users else ()
    asked = {name: _asked(recommender.answer, (*names, *user)) for name, names in inputs.items()}
    asked["explain"] = _asked(recommender.explain, ("items",))
    if not recommender.knows_users:
        asked["explain_items"] = _asked(recommender.explain_items, ("items", "candidates"))
    return asked


def _asked(answer: Callable, names: tuple[str, ...]) -> Callable:
    """`answer` by some inputs."""

    def ask(*values, **named):
        return answer(**dict(zip(names, values, strict=False)), **named)

    # What TensorFlow reads the names of inputs from.
    parameters = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in names]
    ask.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return tf.function(ask, input_signature=[INPUTS[name] for name in names], autograph=False)
