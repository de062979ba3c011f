"""From a saved folder to answers on CPU; `session` needs onnxruntime and tokenizers, no torch."""
