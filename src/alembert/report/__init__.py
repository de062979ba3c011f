"""A run folder as one page to look at: report.html, which opens from disk and asks for nothing."""
