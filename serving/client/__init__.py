"""Asks TensorFlow Serving, or the local server, for recommendations.

Needs `requests` and nothing else of this project, TensorFlow neither.

    client = Client("http://127.0.0.1:8501")
    for answer in client.recommend([["B0001", "B0002"], []], "Books"):
        print(answer.items, answer.scores, answer.fallback)

`rows` makes a request of what is asked, `connection` brings it there and back in time, `answers`
looks at what came back; for `recommend_user`, `user_histories` asks a store that is given to the
client, and `signatures` knows what the model takes; `split` says which variant a user gets.
May import: nothing else of this project.
"""

from serving.client.answers import Answer
from serving.client.client import Client
from serving.client.connection import ServingError
from serving.client.split import Split

__all__ = ["Answer", "Client", "ServingError", "Split"]
