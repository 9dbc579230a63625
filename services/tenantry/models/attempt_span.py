"""The client span of one attempt at a provider, by the GenAI conventions: who was asked for how much, and nothing of what."""

from collections.abc import Generator
from contextlib import contextmanager

from opentelemetry import trace

from tenantry.kit import call, telemetry
from tenantry.kit.errors import TenantryError
from tenantry.models.generation import Result
from tenantry.models.model import Model


class AttemptSpan:
    """The span while the attempt runs."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    def ended(self, result: Result) -> None:
        """The answer is complete."""
        self._span.set_attribute("gen_ai.response.model", result.model_revision)
        self.used(result.input_tokens, result.output_tokens)

    def used(self, input_tokens: int, output_tokens: int) -> None:
        """So many tokens were used until now."""
        self._span.set_attribute("gen_ai.usage.input_tokens", input_tokens)
        self._span.set_attribute("gen_ai.usage.output_tokens", output_tokens)


@contextmanager
def attempt(model: Model, waited_s: float) -> Generator[AttemptSpan]:
    """A span that is a child of the current one, but never the current one itself.

    An answer is a generator: what it made current would be so for its consumer too, and be undone in another context.
    """
    span = telemetry.tracer(call.CURRENT.get().service).start_span(
        f"chat {model.provider_model}",
        kind=trace.SpanKind.CLIENT,
        attributes={
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": model.provider.value,
            "gen_ai.request.model": model.provider_model,
            "tenantry.queue.wait_s": waited_s,
        },
    )
    try:
        yield AttemptSpan(span)
    except BaseException as error:
        kind = error.reason.value if isinstance(error, TenantryError) else type(error).__name__
        span.set_attribute("error.type", kind)
        span.set_status(trace.StatusCode.ERROR, kind)
        raise
    finally:
        span.end()
