"""What page Losses shows of a loss: the targets that the teacher's predictions become, a file a family.

The row of a method names its view. A view takes a `case.Case` (one method on one text) and gives a `target.Target` for
each group of the text; it is built of the parts of its loss, so that what is drawn is what the loss compares.
"""
