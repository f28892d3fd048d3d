"""What the local server tells Prometheus.

`metrics` has requests and versions, `answer_counts` what the answers said.
May import: nothing of the other rooms.
"""
