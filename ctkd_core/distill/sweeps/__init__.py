"""Many runs from one definition: what they are, the queue in which they wait, and what becomes of them."""
