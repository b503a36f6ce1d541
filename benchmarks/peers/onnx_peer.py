"""ONNX Runtime: only inference, with a graph that is written layer by layer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper, numpy_helper

from benchmarks.peers.base import Peer

__all__ = ["OnnxRuntime"]


class OnnxRuntime(Peer):
    """An `InferenceSession` on the CPU."""

    kinds: ClassVar[set[str]] = {"predict"}
    packages: ClassVar[tuple[str, ...]] = ("onnxruntime",)

    def build(self) -> None:
        """Write the graph, and open a session for it."""
        nodes, names = [], {name for name in self.state if "num_batches" not in name}
        for i, (name, *sizes) in enumerate(self.workload.layers):
            inputs = [f"{i}.input", f"{i}.weight", f"{i}.bias"]
            kind, options = {
                "linear": ("Gemm", {"transB": 1}),
                "batchnorm": ("BatchNormalization", {"epsilon": 1e-5}),
                "conv": ("Conv", {"pads": 4 * [sizes[-1] // 2]} if sizes else {}),
                "maxpool": ("MaxPool", {"kernel_shape": 2 * sizes, "strides": 2 * sizes}),
                "elu": ("Elu", {}),
                "relu": ("Relu", {}),
                "flatten": ("Flatten", {}),
            }[name]
            if name == "batchnorm":
                inputs += [f"{i}.running_mean", f"{i}.running_var"]
            inputs = [name for name in inputs if name in names or name.endswith("input")]
            nodes.append(helper.make_node(kind, inputs, [f"{i + 1}.input"], **options))
        values = {name: np.ascontiguousarray(self.state[name]) for name in names}
        ends = ("0.input", self.workload.input_shape), (f"{len(nodes)}.input", (None,))
        first, last = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, *shape])
            for name, shape in ends
        )
        weights = [numpy_helper.from_array(array, name) for name, array in values.items()]
        graph = helper.make_graph(nodes, "network", [first], [last], weights)
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
        checker.check_model(model)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads or 0
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def reset(self) -> None:
        """Do nothing: nothing is trained here."""

    def forward(self, X: Any) -> Any:
        """Run the session."""
        return self.session.run(None, {"0.input": X})[0]

    def n_threads(self) -> str:
        """Return the number of threads that the session was given."""
        return f"onnxruntime {self.threads or 'default'}"
