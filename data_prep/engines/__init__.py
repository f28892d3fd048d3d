"""What computes: DuckDB in this process, or Spark.

One interface, `Engine`, of which the pipeline uses nothing else; `connection.connect` opens the one
that is asked for. Engines know nothing of logs. May import: `errors`.
"""
