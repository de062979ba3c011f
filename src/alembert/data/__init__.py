"""Files to datasets to batches: knows tokenizers, no model, no loss."""
