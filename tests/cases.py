"""Every public module, and every way to build it: the one place to add a case to.

A new module is added to `CASES` under its class, as a list of `ways`. It then stands under the
whole contract (tests/modules/test_contract.py), and with `torch` under parity as well
(tests/parity). For example::

    LayerNorm: ways(
        lambda D, **o: LayerNorm(D, **o),           # how it is built: sizes by their letter
        "N D", "N T D",                             # the shapes that it takes
        eps=numbers(1e-5, 0.1),                     # an option that is drawn
        bias=[True, False],                         # an option of which every value is a way
        torch=lambda nn, D, **o: nn.LayerNorm(D, **o),
    ),

* A letter in a shape is a size of 1 or more, ``H>2`` one of 3 or more, and a number is itself.
  `build` and `torch` are given the sizes that their signatures name, letters that stand in no shape
  as well (F, the features of an output), and the whole shape if they name ``shape``.
* Options are strategies, or lists; a list may hold a strategy: ``momentum=[None, numbers(0, 1)]``.
  `build` and `torch` are given all of them by name.
* ``N>1`` means a batch of two or more in *training*. Every module takes one row in evaluation.
* `kinks` are the inputs at which there is no derivative; by default 0. What is drawn keeps away
  from them, and from ties. (What happens *at* a kink has a test of its own.)
* Whatever is random needs nothing: the same numbers are drawn again for every comparison. Build it
  with ``rng=None``, or with a seed; and leave out `torch`.
* ``rows_are_independent=False`` is for what needs a whole batch even in evaluation.
* ``indices=5`` draws integers from 0 to 4, for what takes indices; or a function of (rng, shape),
  which may return floats where codes stand beside numbers.
* An axis that is a number, or a letter that `build` is given, is fixed by the module: any other
  length must be refused. ``fixes_axes=False`` is for what fixes something else.
* `label` tells ways apart that differ in more than options.
* `torch` builds the counterpart from ``torch.nn`` with the same names in its state dict.
"""

import copy
import inspect
import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from strategies import axis_sizes, numbers, seeds, spaced

import tinynn as tnn
from tinynn.modules import (
    ELU,
    GELU,
    GRU,
    LSTM,
    RNN,
    SELU,
    AvgPool1d,
    AvgPool2d,
    BatchNorm,
    ColumnEmbedding,
    Concat,
    Conv1d,
    Conv2d,
    Dropout,
    Embedding,
    Flatten,
    GaussianNoise,
    GlobalAvgPool1d,
    GlobalAvgPool2d,
    GroupNorm,
    Hardtanh,
    Identity,
    InstanceNorm,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    MaxPool1d,
    MaxPool2d,
    ModuleList,
    MultiheadAttention,
    Padded,
    Parallel,
    PositionalEncoding,
    PReLU,
    ReLU,
    ReLU6,
    Reshape,
    Residual,
    RMSNorm,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Standardize,
    Tanh,
    TransformerBlock,
    Transpose,
)

__all__ = ["CASES", "WAYS", "Case", "Example", "checks", "drawn_indices", "ways"]

# How often each way was checked, for the line at the end of a run.
checks = Counter()


@dataclass(frozen=True, eq=False, repr=False)
class Case:
    """One way to build a module: fixed options, drawn options, and the shapes that it takes."""

    build: Callable[..., tnn.Module]
    axes: tuple[str, ...]
    fixed: dict[str, Any]
    drawn: dict[str, st.SearchStrategy]
    kinks: tuple[float, ...] = (0.0,)
    torch: Callable[..., Any] | None = None
    label: str = ""
    rows_are_independent: bool = True
    indices: Any = None
    fixes_axes: bool = True
    module: str = field(default="", init=False)

    def __str__(self):
        label = [self.label] if self.label else []
        options = {**self.fixed, **dict.fromkeys(self.drawn, "drawn")}
        return "-".join([self.module, *label, *(f"{n}={value}" for n, value in options.items())])

    __repr__ = __str__

    @st.composite
    @staticmethod
    def _examples(draw, case, n_rows):
        axes = draw(st.sampled_from(case.axes))
        sizes = draw(axis_sizes(axes, case.build))
        if n_rows is not None:
            sizes["N"] = n_rows
        options = draw(st.fixed_dictionaries(case.drawn))
        return Example(case, axes, sizes, case.fixed | options, draw(seeds))

    def examples(self, n_rows=None):
        """Examples of this case, with so many rows if that is given."""
        return self._examples(self, n_rows)


@dataclass(frozen=True)
class Example:
    """A case with everything drawn: enough to build the module, and what it is called on, anew."""

    case: Case
    axes: str
    sizes: dict[str, int]
    options: dict[str, Any]
    seed: int

    @property
    def shape(self):
        """The shape of the input."""
        letters = (axis.partition(">")[0] for axis in self.axes.split())
        return tuple(self.sizes[s] if s.isalpha() else int(s) for s in letters)

    def build(self, dtype=np.float64, training=True):
        """Build the module, with no parameter or buffer at the plain number it starts with."""
        tnn.manual_seed(self.seed)
        module = self.rebuild().astype(dtype)
        parameters, state = dict(module.named_parameters()), module.state_dict()
        for i, (name, array) in enumerate(state.items()):
            if array.dtype.kind == "f":
                noise = spaced(array.shape, self.seed + i, dtype=dtype) / 4
                array += noise if name in parameters else np.abs(noise)  # variances stay positive
        module.load_state_dict(state)
        return module.train(training)

    def rebuild(self):
        """Build the module as its constructor leaves it."""
        return self.case.build(**self._arguments(self.case.build))

    def torch(self, nn):
        """Build the counterpart from torch.nn."""
        return self.case.torch(nn, **self._arguments(self.case.torch))

    def X(self, dtype=np.float64):
        """The input."""
        if self.case.indices is not None:
            X = drawn_indices(self.case, self.shape, self.seed)
            return X.astype(dtype) if X.dtype.kind == "f" else X
        return spaced(self.shape, self.seed, self.case.kinks, dtype)

    def delta(self, Y):
        """An upstream derivative for an output: of both signs, no two numbers alike."""
        return spaced(Y.shape, self.seed + 1, dtype=Y.dtype)

    def forward(self, module, X):
        """Call the module, with the library's generator always in the same state."""
        tnn.manual_seed(self.seed)
        return module(X)

    def outcome(self, module, X):
        """Call a copy, so that the module stays as it is."""
        return self.forward(copy.deepcopy(module), X)

    def gradients(self, module, X, delta=None):
        """Run both passes; return the output, the gradient by the input, and all others by name."""
        Y = self.forward(module, X)
        gradient = module.backpropagate(self.delta(Y) if delta is None else delta)
        return Y, gradient, {n: p.grad.copy() for n, p in module.named_parameters()}

    def _arguments(self, function):
        available = {**self.sizes, "shape": self.shape}
        asked = inspect.signature(function).parameters
        return {n: value for n, value in available.items() if n in asked} | self.options


def drawn_indices(case, shape, seed):
    """Indices for a case, of which each is drawn now and then."""
    rng = np.random.default_rng(seed)
    if callable(case.indices):
        return case.indices(rng, shape)
    return rng.integers(case.indices, size=shape)


def ways(
    build,
    *axes,
    label="",
    kinks=(0.0,),
    torch=None,
    rows_are_independent=True,
    indices=None,
    fixes_axes=True,
    **options,
):
    """List the cases of a module: one for each combination of the options that are lists."""
    choices = [value if isinstance(value, list) else [value] for value in options.values()]
    cases = []
    for combination in itertools.product(*choices):
        chosen = dict(zip(options, combination, strict=True))
        drawn = {n: v for n, v in chosen.items() if isinstance(v, st.SearchStrategy)}
        fixed = {n: v for n, v in chosen.items() if n not in drawn}
        cases.append(
            Case(
                *(build, axes, fixed, drawn, kinks, torch),
                *(label, rows_are_independent, indices, fixes_axes),
            )
        )
    return cases


# ---- shapes that many modules share --------------------------------------------------------------

ANY = ("N", "N D", "N T D", "N C H W")
WITH_CLASSES = ("N C", "N C T", "N C H W")

# ---- sequences -----------------------------------------------------------------------------------


def padded(rng, shape):
    """Indices from 1 to 4, and zeros as padding behind them."""
    indices = rng.integers(1, 5, size=shape)
    for row in indices:
        row[rng.integers(1, len(row) + 1) :] = 0
    return indices


def numbers_and_codes(rng, shape):
    """Numbers, and codes of 3 and of 5 categories in the columns 1 and 2."""
    X = rng.normal(size=shape)
    X[..., 1], X[..., 2] = rng.integers(3, size=shape[:-1]), rng.integers(5, size=shape[:-1])
    return X


def states_of(kind, last, bias=True, **options):
    """A recurrence of torch.nn that gives what ours gives: all states, or the last ones."""

    class Peer(kind):
        def forward(self, x):
            all_states, ends = super().forward(x)
            if not last:
                return all_states
            ends = ends[0] if isinstance(ends, tuple) else ends
            n = 2 if self.bidirectional else 1
            return ends[-n:].transpose(0, 1).flatten(1)

    return Peer(batch_first=True, bias=bias, **options)


def later(nn, T):
    return nn.Transformer.generate_square_subsequent_mask(T)


def attention_of(nn, causal, **options):
    class Peer(nn.MultiheadAttention):
        def forward(self, x):
            mask = later(nn, x.shape[1]) if causal else None
            return super().forward(x, x, x, attn_mask=mask, need_weights=False)[0]

    return Peer(batch_first=True, **options)


def block_of(nn, causal, **options):
    class Peer(nn.TransformerEncoderLayer):
        def forward(self, x):
            return super().forward(x, later(nn, x.shape[1]) if causal else None)

    return Peer(batch_first=True, **options)


RECURRENCE = {
    "num_layers": [1, 2],
    "bias": st.booleans(),
    "bidirectional": st.booleans(),
    "last": st.booleans(),
}

# ---- the cases -----------------------------------------------------------------------------------

CASES = {
    Linear: ways(
        lambda D, F, **o: Linear(D, F, **o),
        *("N D", "N T D", "N C T D"),
        bias=[True, False],
        torch=lambda nn, D, F, **o: nn.Linear(D, F, **o),
    ),
    # ---- images ----
    Conv2d: [
        *ways(
            lambda C, F, **o: Conv2d(C, F, **o),
            "N C H>2 W>2",
            kernel_size=[1, (2, 3)],
            stride=[1, (2, 1)],
            padding=[0, 1],
            bias=[True, False],
            torch=lambda nn, C, F, **o: nn.Conv2d(C, F, **o),
        ),
        *ways(
            lambda **o: Conv2d(4, 2, **o),
            "N 4 H>2 W>2",
            kernel_size=[2],
            padding=["same", "valid"],
            dilation=[1, 2],
            groups=[1, 2],
            torch=lambda nn, **o: nn.Conv2d(4, 2, **o),
        ),
    ],
    MaxPool2d: ways(
        MaxPool2d,
        "N C H>2 W>2",
        kernel_size=[2, (3, 2)],
        stride=[None, 1],
        padding=[0, 1],
        torch=lambda nn, **o: nn.MaxPool2d(**o),
    ),
    AvgPool2d: ways(
        AvgPool2d,
        "N C H>2 W>2",
        kernel_size=[2, (3, 2)],
        stride=[None, 1],
        padding=[0, 1],
        count_include_pad=[True, False],
        torch=lambda nn, **o: nn.AvgPool2d(**o),
    ),
    GlobalAvgPool2d: ways(
        GlobalAvgPool2d,
        "N C H W",
        torch=lambda nn: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    ),
    # ---- normalization ----
    BatchNorm: [
        case
        for track_running_stats in (True, False)
        for case in ways(
            lambda C, **o: BatchNorm(C, **o),
            *("N>1 C", "N C T>1", "N C H>1 W"),
            eps=numbers(1e-5, 0.1),
            momentum=[None, numbers(0, 1)],
            affine=[True, False],
            track_running_stats=[track_running_stats],
            rows_are_independent=track_running_stats,
            torch=lambda nn, shape, C, **o: (nn.BatchNorm2d if len(shape) > 3 else nn.BatchNorm1d)(
                C, **o
            ),
        )
    ],
    LayerNorm: [
        *ways(
            lambda D, **o: LayerNorm(D, **o),
            *("N D>1", "N T D>1"),
            eps=numbers(1e-5, 0.1),
            elementwise_affine=[True, False],
            bias=[True, False],
            torch=lambda nn, D, **o: nn.LayerNorm(D, **o),
        ),
        *ways(
            lambda T, D, **o: LayerNorm((T, D), **o),
            *("N T>1 D", "N C T>1 D"),
            label="two axes",
            eps=numbers(1e-5, 0.1),
            torch=lambda nn, T, D, **o: nn.LayerNorm((T, D), **o),
        ),
    ],
    GroupNorm: ways(
        lambda num_groups, **o: GroupNorm(num_groups, 4, **o),
        *("N 4 T>1", "N 4 H>1 W"),
        num_groups=[1, 2, 4],
        eps=numbers(1e-5, 0.1),
        affine=[True, False],
        torch=lambda nn, num_groups, **o: nn.GroupNorm(num_groups, 4, **o),
    ),
    InstanceNorm: ways(
        lambda C, **o: InstanceNorm(C, **o),
        *("N C T>1", "N C H>1 W"),
        eps=numbers(1e-5, 0.1),
        affine=[True, False],
        torch=lambda nn, shape, C, **o: (
            nn.InstanceNorm2d if len(shape) > 3 else nn.InstanceNorm1d
        )(C, **o),
    ),
    RMSNorm: [
        *ways(
            lambda D, **o: RMSNorm(D, **o),
            *("N D>1", "N T D>1"),
            eps=[None, numbers(1e-5, 0.1)],
            elementwise_affine=[True, False],
            torch=lambda nn, D, **o: nn.RMSNorm(D, **o),
        ),
        *ways(
            lambda T, D: RMSNorm((T, D)),
            "N T>1 D",
            label="two axes",
            torch=lambda nn, T, D: nn.RMSNorm((T, D)),
        ),
    ],
    # ---- sequences ----
    Embedding: [
        *ways(
            lambda D: Embedding(5, D),
            *("N", "N T", "N T C"),
            indices=5,
            torch=lambda nn, D: nn.Embedding(5, D),
        ),
        *ways(lambda D, **o: Embedding(5, D, **o), "N T", indices=5, padding_idx=[0, -1]),
    ],
    ColumnEmbedding: [
        *ways(
            lambda: ColumnEmbedding(4, [1, 2], [3, 5], [2, 3]),
            *("N 4", "N T 4"),
            indices=numbers_and_codes,
        ),
        *ways(lambda: ColumnEmbedding(2, [0, 1], [3, 3], [1, 2]), "N 2", indices=3, label="codes"),
        *ways(lambda D: ColumnEmbedding(D, [], [], []), "N D", label="numbers"),
    ],
    PositionalEncoding: [
        *ways(lambda D, **o: PositionalEncoding(D, 7, **o), "N T D", learned=[False, True]),
    ],
    RNN: ways(
        lambda D, H, **o: RNN(D, H, **o),
        "N T D",
        kinks=(0.0,),
        **RECURRENCE,
        nonlinearity=["tanh"],
        torch=lambda nn, D, H, **o: states_of(nn.RNN, input_size=D, hidden_size=H, **o),
    )
    + ways(
        lambda D, H, **o: RNN(D, H, **o),
        "N T D",
        nonlinearity=["relu"],
        torch=lambda nn, D, H, **o: states_of(nn.RNN, False, input_size=D, hidden_size=H, **o),
    )
    + ways(lambda D, H, **o: RNN(D, H, 2, **o), "N T D", dropout=[0.5]),
    GRU: ways(
        lambda D, H, **o: GRU(D, H, **o),
        "N T D",
        **RECURRENCE,
        torch=lambda nn, D, H, **o: states_of(nn.GRU, input_size=D, hidden_size=H, **o),
    )
    + ways(lambda D, H, **o: GRU(D, H, 2, **o), "N T D", dropout=[0.5]),
    LSTM: ways(
        lambda D, H, **o: LSTM(D, H, **o),
        "N T D",
        **RECURRENCE,
        torch=lambda nn, D, H, **o: states_of(nn.LSTM, input_size=D, hidden_size=H, **o),
    )
    + ways(lambda D, H, **o: LSTM(D, H, 2, **o), "N T D", dropout=[0.5]),
    MultiheadAttention: [
        *ways(
            lambda num_heads, **o: MultiheadAttention(4, num_heads, **o),
            "N T 4",
            num_heads=st.sampled_from([1, 2, 4]),
            bias=st.booleans(),
            causal=[False, True],
            torch=lambda nn, **o: attention_of(nn, embed_dim=4, **o),
        ),
        *ways(
            lambda **o: MultiheadAttention(4, 2, **o),
            "N T 4",
            label="dropout",
            dropout=[0.5],
        ),
    ],
    TransformerBlock: [
        *ways(
            lambda **o: TransformerBlock(4, 2, 6, **o),
            "N T 4",
            activation=["gelu"],
            norm_first=[True, False],
            bias=st.booleans(),
            causal=st.booleans(),
            torch=lambda nn, **o: block_of(
                nn, d_model=4, nhead=2, dim_feedforward=6, dropout=0.0, **o
            ),
        ),
        *ways(
            lambda **o: TransformerBlock(4, 2, **o),
            "N T 4",
            label="gelu_tanh",
            activation=["gelu_tanh"],
            dropout=[0.5],
        ),
    ],
    Padded: [
        *ways(
            lambda **o: Padded(
                ModuleList(
                    [
                        Embedding(5, 2, padding_idx=0),
                        MultiheadAttention(2, 1),
                        LSTM(2, 1, bidirectional=True, last=True),
                    ]
                ),
                **o,
            ),
            "N T",
            indices=padded,
            label="indices",
        ),
        *ways(
            lambda D: Padded(ModuleList([GRU(D, 2), Transpose(), GlobalAvgPool1d()]), 99.0),
            "N T D",
            label="vectors",
        ),
    ],
    Conv1d: [
        *ways(
            lambda C, F, **o: Conv1d(C, F, **o),
            "N C T>2",
            kernel_size=[1, 3],
            stride=st.integers(1, 2),
            padding=st.integers(0, 1),
            bias=[True, False],
            torch=lambda nn, C, F, **o: nn.Conv1d(C, F, **o),
        ),
        *ways(
            lambda **o: Conv1d(4, 2, **o),
            "N 4 T>2",
            kernel_size=[2],
            padding=["same", "valid"],
            dilation=[1, 2],
            groups=[1, 2],
            torch=lambda nn, **o: nn.Conv1d(4, 2, **o),
        ),
    ],
    MaxPool1d: ways(
        MaxPool1d,
        "N C T>2",
        kernel_size=[2, 3],
        stride=st.sampled_from([None, 1]),
        padding=st.integers(0, 1),
        torch=lambda nn, **o: nn.MaxPool1d(**o),
    ),
    AvgPool1d: ways(
        AvgPool1d,
        "N C T>2",
        kernel_size=[2, 3],
        stride=st.sampled_from([None, 1]),
        padding=st.integers(0, 1),
        count_include_pad=[True, False],
        torch=lambda nn, **o: nn.AvgPool1d(**o),
    ),
    GlobalAvgPool1d: ways(
        GlobalAvgPool1d,
        "N C T",
        torch=lambda nn: nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten()),
    ),
    # ---- activations ----
    ReLU: ways(ReLU, *ANY, torch=lambda nn: nn.ReLU()),
    LeakyReLU: ways(
        LeakyReLU,
        *ANY,
        negative_slope=[0.01, 0, numbers(-2, 3)],
        torch=lambda nn, **o: nn.LeakyReLU(**o),
    ),
    PReLU: [
        *ways(PReLU, *ANY, init=numbers(-2, 3), torch=lambda nn, **o: nn.PReLU(**o)),
        *ways(
            lambda C, **o: PReLU(C, **o),
            *("N C>1", "N C>1 H W"),
            label="channels",
            init=numbers(-2, 3),
            torch=lambda nn, C, **o: nn.PReLU(C, **o),
        ),
    ],
    ELU: ways(ELU, *ANY, alpha=[1.0, numbers(-2, 3)], torch=lambda nn, **o: nn.ELU(**o)),
    SELU: ways(SELU, *ANY, torch=lambda nn: nn.SELU()),
    GELU: ways(GELU, *ANY, approximate=["none", "tanh"], torch=lambda nn, **o: nn.GELU(**o)),
    SiLU: ways(SiLU, *ANY, torch=lambda nn: nn.SiLU()),
    # PyTorch returns x itself above a threshold, by default from β x = 20 on.
    Softplus: ways(
        Softplus, *ANY, beta=numbers(0.1, 5), torch=lambda nn, **o: nn.Softplus(**o, threshold=1e9)
    ),
    Hardtanh: ways(
        Hardtanh,
        *ANY,
        kinks=(-1.0, 0.5, 1.0),
        min_val=[-1.0],
        max_val=[1.0, 0.5],
        torch=lambda nn, **o: nn.Hardtanh(**o),
    ),
    ReLU6: ways(ReLU6, *ANY, kinks=(0.0, 6.0), torch=lambda nn: nn.ReLU6()),
    Sigmoid: ways(Sigmoid, *ANY, torch=lambda nn: nn.Sigmoid()),
    Tanh: ways(Tanh, *ANY, torch=lambda nn: nn.Tanh()),
    Softmax: ways(Softmax, *WITH_CLASSES, dim=[-1, 1], torch=lambda nn, **o: nn.Softmax(**o)),
    LogSoftmax: ways(
        LogSoftmax, *WITH_CLASSES, dim=[-1, 1], torch=lambda nn, **o: nn.LogSoftmax(**o)
    ),
    # ---- regularization ----
    Dropout: ways(Dropout, *ANY, p=[0, 0.5, 1, numbers(0, 1)], rng=[None, 0]),
    GaussianNoise: ways(GaussianNoise, *ANY, std=[0, numbers(0.1, 3)], rng=[None, 0]),
    # ---- preprocessing ----
    Standardize: [
        # A mean for one feature, or channel, is one for any number of them.
        *ways(lambda D: Standardize(D), "N D>1", "N T D>1"),
        *ways(lambda C: Standardize((C, 1, 1)), "N C>1 H W", label="channels"),
    ],
    # ---- shapes ----
    Flatten: ways(Flatten, "N D", "N T D", "N C H W", torch=lambda nn: nn.Flatten()),
    Identity: ways(Identity, *ANY, torch=lambda nn: nn.Identity()),
    Reshape: ways(
        Reshape,
        *("N 12", "N 3 4", "N 2 3 2"),
        shape=[(12,), (2, -1), (3, 2, 2)],
        fixes_axes=False,  # but their product
        torch=lambda nn, shape: nn.Sequential(nn.Flatten(), nn.Unflatten(1, shape)),
    ),
    Transpose: [
        *ways(Transpose, "N T D", "N C H W"),
        *ways(Transpose, "N C H W", dim0=[-1], dim1=[2, 1]),
    ],
    # ---- containers ----
    Residual: [
        *ways(lambda D: Residual(ModuleList([Linear(D, 4), Tanh(), Linear(4, D)])), "N D"),
        *ways(
            lambda D, F: Residual(ModuleList([Linear(D, F), SiLU()]), Linear(D, F, bias=False)),
            "N D",
            label="shortcut",
        ),
    ],
    Parallel: ways(
        lambda D, F: Parallel([Linear(D, F), ModuleList([Linear(D, F), Tanh()]), Linear(D, F)]),
        "N D",
    ),
    Concat: [
        *ways(lambda D, F: Concat([Linear(D, F), Tanh(), Linear(D, 2)]), "N D"),
        *ways(lambda dim: Concat([Tanh(), Identity()], dim), "N C H W", dim=[1, 2, -1]),
    ],
    ModuleList: [
        *ways(
            # Not of two rows: ±1 whatever comes in leaves gradients made of rounding errors.
            lambda D, F: ModuleList([Linear(D, 4), BatchNorm(), ELU(), Linear(None, F)]),
            "N>2 D",
            label="flat",
            torch=lambda nn, D, F: nn.Sequential(
                nn.Linear(D, 4), nn.BatchNorm1d(4), nn.ELU(), nn.Linear(4, F)
            ),
        ),
        *ways(
            lambda C, F: ModuleList(
                [ModuleList([BatchNorm(C), Tanh()]), Flatten(), ModuleList([Linear(C * 6, F)])]
            ),
            "N C 2 3",
            label="nested",
            torch=lambda nn, C, F: nn.Sequential(
                nn.Sequential(nn.BatchNorm2d(C), nn.Tanh()),
                nn.Flatten(),
                nn.Sequential(nn.Linear(C * 6, F)),
            ),
        ),
        *ways(lambda: ModuleList([LeakyReLU(0.5), Sigmoid()]), *ANY, label="plain"),
        *ways(ModuleList, *ANY, label="empty"),
    ],
}

for _class, _cases in CASES.items():
    for _case in _cases:
        object.__setattr__(_case, "module", _class.__name__)

WAYS = [case for cases in CASES.values() for case in cases]
