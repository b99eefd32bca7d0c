"""The audio half in production: published into Triton's model repository, checked, served in ragged batches."""
