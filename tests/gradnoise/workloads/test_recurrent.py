import pytest
import torch

from gradnoise.workloads import GRU, LSTM, normal

PAIRS = [(GRU, torch.nn.GRU), (LSTM, torch.nn.LSTM)]
SETTINGS = [
    {},
    {"num_layers": 2, "batch_first": True},
    {"num_layers": 2, "bidirectional": True},
    {"bias": False, "bidirectional": True, "batch_first": True},
]


def flat(results: object) -> list[torch.Tensor]:
    if isinstance(results, torch.Tensor):
        return [results]
    assert isinstance(results, tuple)
    return [tensor for result in results for tensor in flat(result)]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("scan", "fused"), PAIRS, ids=["gru", "lstm"])
@pytest.mark.parametrize("starts", [False, True])
def test_it_has_the_parameters_the_outputs_and_the_gradients_of_torchs(
    scan: type[torch.nn.RNNBase],
    fused: type[torch.nn.RNNBase],
    settings: dict[str, bool],
    starts: bool,
) -> None:
    mine, theirs = scan(3, 4, **settings).double(), fused(3, 4, **settings).double()
    assert list(mine.state_dict()) == list(theirs.state_dict())
    mine.load_state_dict(theirs.state_dict())
    inputs = normal(1, "inputs", 0, "", (5, 6, 3)).double()
    n_sequences = 5 if settings.get("batch_first") else 6
    layers = settings.get("num_layers", 1) * (2 if settings.get("bidirectional") else 1)
    state = normal(1, "state", 0, "", (layers, n_sequences, 4)).double()
    first = (state, state / 2) if fused is torch.nn.LSTM else state
    found, expected = (net(inputs, first if starts else None) for net in (mine, theirs))
    for result, other in zip(flat(found), flat(expected), strict=True):
        torch.testing.assert_close(result, other, rtol=1e-12, atol=1e-14)
    gradients = [
        torch.autograd.grad(sum(part.sin().sum() for part in flat(results)), list(net.parameters()))
        for net, results in ((mine, found), (theirs, expected))
    ]
    for gradient, other in zip(*gradients, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("scan", "_fused"), PAIRS, ids=["gru", "lstm"])
def test_what_it_does_not_support_is_refused(
    scan: type[torch.nn.RNNBase], _fused: type[torch.nn.RNNBase]
) -> None:
    with pytest.raises(ValueError, match=r"dropout must be 0, but got dropout=0\.1: put a Dropout"):
        scan(3, 4, num_layers=2, dropout=0.1)
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.ones(2, 2, 3), torch.tensor([2, 1]))
    with pytest.raises(TypeError, match="not a packed sequence"):
        scan(3, 4)(packed)
