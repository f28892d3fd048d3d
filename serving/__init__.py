"""Export of trained runs and their serving over REST.

The rooms, from the bottom: `client`; `histories`, `saved_model`; `server`; `deploy` has templates.
The command lines live here. May import: `tf_syncrec`, `data_prep`. Nothing is imported here, so
that `serving.client` and `serving.histories` start without TensorFlow.
"""
