"""What each user did lately, by user id: a store that a service writes to and a client reads.

    histories = open_histories("redis://localhost:6379/0")
    histories.record("u17", "b03", time.time())
    Client("http://127.0.0.1:8501", histories=histories).recommend_user("u17", "books")

`store` says what a store does, `sqlite` and `redis` do it, `address` opens either: these need what
the client needs, and `redis` redis-py. `fill` puts a log in, or what is `prepared`; `rest` is for
the local server. May import: `client`; the last three also `data_prep` and `tf_syncrec`.
"""

from serving.histories.address import open_histories
from serving.histories.store import Event, Histories, StoreError

__all__ = ["Event", "Histories", "StoreError", "open_histories"]
