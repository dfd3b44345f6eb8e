"""Pages from result records: one self-contained index.html, a report.md, and their figures."""
