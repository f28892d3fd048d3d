"""π-Net: two recurrent networks side by side, written out, and what passes between them."""

import numpy as np

from tests.support.published import domain_of, norm, sigmoid, tiny
from tf_syncrec.models.cross_domain.pi_net import PiNet

TWO = (5, 4)


def gru(x, h, weights, d):
    of_x, of_h, bias = (weight.numpy()[d] for weight in weights)
    z, r, n = (slice(0, 8), slice(8, 16), slice(16, 24))
    update = sigmoid(x @ of_x[:, z] + h @ of_h[:, z] + bias[z])
    reset = sigmoid(x @ of_x[:, r] + h @ of_h[:, r] + bias[r])
    new = np.tanh(x @ of_x[:, n] + (reset * h) @ of_h[:, n] + bias[n])
    return update * h + (1 - update) * new


def literal(model, history, d):
    """The representation for domain d of two, one item and one latent user after another."""
    cell, part = model.recurrent.cell, model.embedding
    h, s, c = ([np.zeros(8), np.zeros(8)] for _ in range(3))
    had = [0, 0]  # as long as there is no item of a domain, the other is handed nothing
    for item in [0, *history]:
        x = part.items.numpy()[item] if item else part.start_tokens.numpy()[0]
        x = norm(x + part.positions.numpy()[0])
        moving = [domain_of(item, TWO)] if item else [0, 1]
        if item:
            had[moving[0]] = 1
        for a in moving:
            h[a] = gru(x, h[a], cell.recurrent["encoder"], a)
        for a in moving:
            states = []
            for user in cell.users.numpy()[a]:
                seen = np.concatenate([h[a], had[1 - a] * h[1 - a], s[a]])
                gate = sigmoid(
                    seen @ cell.gate.numpy()[a]
                    + user @ cell.gate_members.numpy()[a]
                    + cell.gate_bias.numpy()[a]
                )
                new = np.tanh(
                    np.concatenate([h[a], s[a]]) @ cell.new.numpy()[a]
                    + user @ cell.new_members.numpy()[a]
                    + cell.new_bias.numpy()[a]
                )
                states.append(gate * s[a] + (1 - gate) * new)
            s[a] = np.mean(states, axis=0)
            c[a] = gru(s[a], c[a], cell.recurrent["transfer"], a)
    both = np.concatenate([h[d], had[1 - d] * c[1 - d]])
    return both @ model.outputs_kernel.numpy()[d] + model.outputs_bias.numpy()[d, 0]


def test_with_two_domains_it_is_the_network_of_the_paper():
    model = tiny(PiNet, TWO, members=3)
    for history in ([], [3], [3, 7, 1, 9, 2], [6, 8]):
        batch = np.array([[0] * (5 - len(history)) + history], np.int32)
        queries = model.query_vectors(batch, np.array([[1, 0]], np.int32))[0]
        for query, d in zip(queries, (1, 0), strict=True):
            np.testing.assert_allclose(query, literal(model, history, d), rtol=1e-4, atol=1e-5)


def test_what_is_not_transferred_is_not_known():
    """With a matrix that reads nothing of the others, their items change nothing; else they do."""
    model = tiny(PiNet)
    domains = np.array([[0, 1, 2]], np.int32)

    def asked(items):
        return model.query_vectors(np.array([items], np.int32), domains).numpy()[0]

    def differences():
        return np.abs(asked([3, 7, 1, 11]) - asked([3, 9, 1, 11])).max(axis=1)

    assert differences().min() > 1e-4, "an item of the second domain is known everywhere"
    kernel = model.outputs_kernel.numpy()
    kernel[:, 8:] = 0.0
    model.outputs_kernel.assign(kernel)
    of_others = differences()
    assert of_others[0] == of_others[2] == 0.0 and of_others[1] > 1e-3


def test_latent_users_have_no_order_and_a_lone_domain_is_handed_nothing():
    model = tiny(PiNet)
    items, domains = np.array([[3, 7, 1, 11]], np.int32), np.array([[0, 1, 2]], np.int32)
    before = model.query_vectors(items, domains)
    users = model.recurrent.cell.users
    users.assign(users.numpy()[:, ::-1])
    np.testing.assert_allclose(model.query_vectors(items, domains), before, atol=1e-5)
    users.assign(users.numpy() + 1.0)
    assert np.abs(model.query_vectors(items, domains) - before).max() > 1e-3

    alone = tiny(PiNet, (5,))
    kernel = alone.outputs_kernel.numpy()
    items, domain = np.array([[3, 1, 4]], np.int32), np.zeros((1, 1), np.int32)
    before = alone.query_vectors(items, domain)
    kernel[:, 8:] += 1.0
    alone.outputs_kernel.assign(kernel)
    np.testing.assert_array_equal(alone.query_vectors(items, domain), before)
