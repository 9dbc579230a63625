"""What an answer costs, and how many tokens a text is taken for where nobody counted."""

_BYTES_A_TOKEN = 4


def cost_micros(input_tokens: int, output_tokens: int, input_price_micros: int, output_price_micros: int) -> int:
    """The cost in millionths of a dollar, rounded up once over both parts; prices are for a million tokens."""
    return -(-(input_tokens * input_price_micros + output_tokens * output_price_micros) // 1_000_000)


def estimated_tokens(*texts: str) -> int:
    """A token for every four bytes, rounded up for each text."""
    return sum(-(-len(text.encode()) // _BYTES_A_TOKEN) for text in texts)
