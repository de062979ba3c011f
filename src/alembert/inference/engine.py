"""Engines that run an exported graph: token ids in, logits out, without torch."""

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from alembert.inference.graph import check_onnx
from alembert.inference.manifest import FILE, PER_TOKEN, Manifest, Variant
from alembert.inference.static import StaticEngine
from alembert.io import checksums
from alembert.io.environment import int8_overflows, missing
from alembert.io.errors import UserError

EXPORT_AGAIN = "export the model again"
log = logging.getLogger(__name__)

Ids = dict[str, NDArray[np.int64]]
MANY = 8  # more threads a core than this are a mistake: thousands take all memory


class Engine(Protocol):
    """A graph: input_ids, attention_mask and token_type_ids (B, T) and places (N,) in, logits out.

    Returns the graph's first output in float32 (see `manifest`) and ignores inputs that the graph
    does not take. It is safe to call from several threads at once.
    """

    def __call__(self, inputs: Ids) -> NDArray[np.float32]: ...

    def outputs(self, inputs: Ids) -> list[NDArray[np.float32]]:
        """All outputs of the graph; the backend "attentions" adds (L, B, A, T, T)."""
        ...


def open_engine(
    folder: Path, facts: Manifest, backend: str | None = None, threads: int | None = 1
) -> Engine:
    """The engine of one variant, by default the chosen one; threads=None uses all cores.

    Raises UserError for a variant that was not exported, a broken file or one of another model,
    and a runtime that is not installed.
    """
    check_threads(threads)
    variant = facts.variant(backend, folder)
    path = folder / variant.file
    if not path.is_file():
        raise UserError(f"{path}: no such file: export the model again")
    checksums.check_folder(folder, [variant.file.rsplit(".", 1)[0] + ".*"], EXPORT_AGAIN)
    if variant.bits == 8 and int8_overflows():
        log.warning(
            f"{path}: was made for a processor with VNNI, which this one lacks: its sums may "
            "overflow, so export the model again on a processor like this one"
        )
    engine: StaticEngine | _OpenVino | _Onnx
    if variant.runtime == "numpy":
        engine = StaticEngine(folder, facts.kind)
    else:
        if variant.runtime != "openvino" or path.suffix != ".xml":  # OpenVINO opens .onnx, too
            check_onnx(path)
        engine_class = _OpenVino if variant.runtime == "openvino" else _Onnx
        engine = engine_class(path, variant, threads or os.cpu_count() or 1)
    rank, width = 2 + (facts.kind in PER_TOKEN), str(len(facts.labels) or engine.shape[-1])
    if (set(engine.takes), len(engine.shape)) != (set(facts.inputs), rank) or (
        str(engine.shape[-1]) != width
    ):
        raise UserError(f"{path}: does not match {FILE}: export the model again")
    return engine


def check_threads(threads: int | None) -> None:
    """Raises UserError for less than one thread and for far more than cores; None is all cores."""
    if threads is not None and threads < 1:
        raise UserError(f"--threads {threads}: must be 1 or more")
    if threads is not None and threads > MANY * (os.cpu_count() or 1):
        raise UserError(f"--threads {threads}: there are {os.cpu_count()} cores here")


class _Onnx:
    def __init__(self, path: Path, variant: Variant, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise UserError(missing("onnxruntime", "serve")) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 4  # errors are reported below, once
        try:
            self._session = onnxruntime.InferenceSession(
                str(path),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=["SkipLayerNormFusion"],  # its kernel is slower than two
            )
        except Exception as error:  # its errors share no class but this
            raise UserError(_broken(path, error)) from error
        self.takes = [entry.name for entry in self._session.get_inputs()]
        self._gives = [self._session.get_outputs()[0].name]  # without attentions
        self.shape: Sequence[object] = self._session.get_outputs()[0].shape

    def __call__(self, inputs: Ids) -> NDArray[np.float32]:
        results = self._session.run(self._gives, {name: inputs[name] for name in self.takes})
        return np.asarray(results[0], np.float32)

    def outputs(self, inputs: Ids) -> list[NDArray[np.float32]]:
        results = self._session.run(None, {name: inputs[name] for name in self.takes})
        return [np.asarray(output, np.float32) for output in results]


class _OpenVino:
    def __init__(self, path: Path, variant: Variant, threads: int) -> None:
        core: Any = openvino().Core()
        # the default is bf16 where the processor has it, so the precision is always set
        hint = "bf16" if variant.precision == "bf16" else "f32"
        settings = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": threads}
        try:
            self._model = core.compile_model(str(path), "CPU", settings)
        except Exception as error:  # its errors share no class but this
            raise UserError(_broken(path, error)) from error
        self.takes = [entry.any_name for entry in self._model.inputs]
        self.shape: Sequence[object] = list(self._model.outputs[0].partial_shape)
        self._idle: list[Any] = []  # requests: creating one takes as long as a short text

    def __call__(self, inputs: Ids) -> NDArray[np.float32]:
        return self._outputs(inputs, 1)[0]

    def outputs(self, inputs: Ids) -> list[NDArray[np.float32]]:
        return self._outputs(inputs, len(self._model.outputs))

    def _outputs(self, inputs: Ids, count: int) -> list[NDArray[np.float32]]:
        try:
            request = self._idle.pop()  # atomic, so that threads never share a request
        except IndexError:
            request = self._model.create_infer_request()
        results = request.infer({name: inputs[name] for name in self.takes})
        outputs = [np.array(results[i], np.float32) for i in range(count)]
        self._idle.append(request)
        return outputs


def openvino() -> Any:
    """The module openvino, with its telemetry disabled. Raises UserError if it is not installed."""
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino as module
    except ImportError as error:
        raise UserError(missing("openvino", "deploy")) from error
    return module


def has_bf16() -> bool:
    """Whether OpenVINO computes in bf16 on this processor; otherwise it uses fp32 silently."""
    return "BF16" in openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _broken(path: Path, error: Exception) -> str:
    return f"{path}: cannot be read ({' '.join(str(error).split())[:150]}): export the model again"
