"""How long the state machines look: little in the suite, as long as one likes by hand."""

import os

import hypothesis


def examples(few: int, steps: int = 12) -> hypothesis.settings:
    """Settings of a state machine; `STATE_MACHINES=100 pytest ...` looks a hundred times as long."""
    return hypothesis.settings(
        max_examples=few * int(os.environ.get("STATE_MACHINES", "1")),
        stateful_step_count=steps,
        deadline=None,
        derandomize="STATE_MACHINES" not in os.environ,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
