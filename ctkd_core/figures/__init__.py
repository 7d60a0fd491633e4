"""Pictures of the core objects: pure functions that return plotly figures or plain data for the token component.

Nothing here imports streamlit; reports and pages call the same functions. Token texts are untrusted: they are made
visible (`visible`) and escaped (`theme.escape`) before they reach a label, because plotly reads HTML-like tags there.
"""
