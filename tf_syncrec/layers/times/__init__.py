"""When things happened, as what layers read: seconds, buckets of gaps, hours, days of the week.

Imported by `layers` and `models`. May import: nothing of the project.
"""
