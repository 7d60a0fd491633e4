"""How texts, colours and small tables reach a screen: what pictures, reports and notebooks have in common.

Lies below everything that is shown, so that an alignment can draw itself in a notebook and a page can draw it too.
"""
