"""What an answer costs, and how many tokens a text is taken for where nobody counted."""

from tenantry.models.model import Model

_BYTES_A_TOKEN = 4


def cost_micros(model: Model, input_tokens: int, output_tokens: int, cached_input_tokens: int = 0) -> int:
    """The cost in millionths of a dollar, rounded up once over all parts; prices are for a million tokens. The cached are
    among the input tokens."""
    cached = min(cached_input_tokens, input_tokens)
    cached_price = model.cached_input_price_micros or model.input_price_micros
    read = (input_tokens - cached) * model.input_price_micros + cached * cached_price
    return -(-(read + output_tokens * model.output_price_micros) // 1_000_000)


def estimated_tokens(*texts: str) -> int:
    """A token for every four bytes, rounded up for each text."""
    return sum(-(-len(text.encode()) // _BYTES_A_TOKEN) for text in texts)
