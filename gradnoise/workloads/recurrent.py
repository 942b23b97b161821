"""Recurrent networks that stack: loops over the sequence in place of torch's fused kernels.

`torch.func.vmap` has no rule for the kernels of torch's LSTM on a CPU, and of its GRU and LSTM on a
GPU.
"""

from abc import abstractmethod
from typing import Any

import torch
from torch.nn import functional

State = tuple[torch.Tensor, ...]


class _Scan(torch.nn.RNNBase):
    """The loop that GRU and LSTM share; subclasses define a step."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(self.mode_of_torch, *args, **settings)
        for name in ("dropout", "proj_size"):
            if getattr(self, name):
                raise ValueError(
                    f"{name} must be 0, but got {name}={getattr(self, name)}: put a Dropout or "
                    "Linear layer behind the network."
                )

    mode_of_torch: str
    n_states: int

    def flatten_parameters(self) -> None:
        """Do nothing: only the fused kernels need their parameters in one piece."""

    def scan(
        self, inputs: torch.Tensor, states: State | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return the outputs, in the layout of the inputs, and the last states, each [layers *
        directions, batch, hidden].
        """
        if not isinstance(inputs, torch.Tensor) or inputs.dim() != 3:
            raise TypeError(
                "inputs must be a tensor with three axes, not a packed sequence or a single one."
            )
        sequence = inputs.transpose(0, 1) if self.batch_first else inputs
        n_directions = 2 if self.bidirectional else 1
        shape = (self.num_layers * n_directions, sequence.shape[1], self.hidden_size)
        first = states or (sequence.new_zeros(shape),) * self.n_states
        last: list[State] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(n_directions):
                k = layer * n_directions + direction
                output, state = self._layer(sequence, tuple(part[k] for part in first), k)
                outputs.append(output)
                last.append(state)
            sequence = torch.cat(outputs, 2)
        final = tuple(torch.stack(parts) for parts in zip(*last, strict=True))
        return (sequence.transpose(0, 1) if self.batch_first else sequence), final

    def _layer(self, sequence: torch.Tensor, state: State, k: int) -> tuple[torch.Tensor, State]:
        weights: list[Any] = [getattr(self, name) for name in self._flat_weights_names_of(k)]
        input_weight, hidden_weight, input_bias, hidden_bias = (*weights, None, None)[:4]
        is_reversed = self.bidirectional and k % 2 == 1
        gates = functional.linear(sequence, input_weight, input_bias)
        steps = gates.unbind(0)
        outputs = []
        for of_input in reversed(steps) if is_reversed else steps:
            of_hidden = functional.linear(state[0], hidden_weight, hidden_bias)
            state = self.step(of_input, of_hidden, state)
            outputs.append(state[0])
        return torch.stack(outputs[::-1] if is_reversed else outputs), state

    def _flat_weights_names_of(self, k: int) -> list[str]:
        n = 4 if self.bias else 2
        names: list[str] = self._flat_weights_names
        return names[k * n : (k + 1) * n]

    @abstractmethod
    def step(self, of_input: torch.Tensor, of_hidden: torch.Tensor, state: State) -> State:
        """Return the next state, the hidden state first.

        Args:
            of_input: The gates' part that depends on the input, [batch, gates * hidden].
            of_hidden: Their part that depends on the hidden state.
            state: The state.
        """


class GRU(_Scan):
    """A gated recurrent unit (Cho et al. 2014, arXiv:1406.1078) with the parameters, the arguments
    and the results of `torch.nn.GRU`, without `dropout` and packed sequences.

    r, z = sigmoid of their gates, n = tanh(W_n x + b + r (U_n h + c)), h <- (1 - z) n + z h.

    Raises:
        ValueError: If dropout is not 0.

    >>> outputs, last = GRU(3, 4, batch_first=True)(torch.ones(2, 5, 3))
    >>> outputs.shape, last.shape
    (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
    """

    mode_of_torch = "GRU"
    n_states = 1

    def forward(
        self, inputs: torch.Tensor, hidden: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        outputs, (last,) = self.scan(inputs, None if hidden is None else (hidden,))
        return outputs, last

    def step(self, of_input: torch.Tensor, of_hidden: torch.Tensor, state: State) -> State:
        (reset_x, update_x, new_x), (reset_h, update_h, new_h) = (
            part.chunk(3, 1) for part in (of_input, of_hidden)
        )
        update = torch.sigmoid(update_x + update_h)
        new = torch.tanh(new_x + torch.sigmoid(reset_x + reset_h) * new_h)
        return (new + update * (state[0] - new),)


class LSTM(_Scan):
    """A long short-term memory (Hochreiter & Schmidhuber 1997) with the parameters, the arguments
    and the results of `torch.nn.LSTM`, without `dropout`, `proj_size` and packed sequences.

    i, f, o = sigmoid of their gates, c <- f c + i tanh(W_g x + U_g h + b), h <- o tanh(c).

    Raises:
        ValueError: If dropout or proj_size is not 0.

    >>> outputs, (hidden, cell) = LSTM(3, 4, num_layers=2)(torch.ones(5, 2, 3))
    >>> outputs.shape, hidden.shape, cell.shape
    (torch.Size([5, 2, 4]), torch.Size([2, 2, 4]), torch.Size([2, 2, 4]))
    """

    mode_of_torch = "LSTM"
    n_states = 2

    def forward(
        self, inputs: torch.Tensor, states: tuple[torch.Tensor, torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        return self.scan(inputs, states)

    def step(self, of_input: torch.Tensor, of_hidden: torch.Tensor, state: State) -> State:
        admit, forget, new, show = (of_input + of_hidden).chunk(4, 1)
        cell = torch.sigmoid(forget) * state[1] + torch.sigmoid(admit) * torch.tanh(new)
        return torch.sigmoid(show) * torch.tanh(cell), cell
