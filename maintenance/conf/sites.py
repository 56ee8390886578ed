"""Sites as targets: their pages and static files, as a visitor gets them."""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from maintenance.conf.references import resolve_secret
from maintenance.conf.values import Section
from maintenance.core.errors import ConfigurationError


def _over_http(text: str) -> str:
    if text.startswith("env:"):
        return text
    if text.startswith(("https://", "http://")):
        return text
    raise ValueError('must be a URL ("https://...") or a reference "env:NAME"')


def _over_http_or_path(text: str) -> str:
    return text if text.startswith("/") else _over_http(text)


class SiteTarget(Section):
    """A site as a visitor sees it: the ``url`` of a page, and where its static files are.

    ``url`` may be a reference (``"env:SITE_URL"``), which :meth:`resolved` follows.

    ``static_url`` may be a path of the site or a URL, of a CDN for one. ``static_root`` is the folder
    that ``collectstatic`` fills, where this machine has it. ``own`` says that the site is this very
    Django project: what is left out is read from its settings, also how it compresses.
    ``maximum_requests`` is how many requests a review makes at the most.
    """

    url: Annotated[str, AfterValidator(_over_http)]
    static_url: Annotated[str, AfterValidator(_over_http_or_path)] = "/static/"
    static_root: str = ""
    own: bool = False
    maximum_requests: int = Field(default=20, gt=1, le=200)
    timeout_seconds: float = Field(default=10, gt=0, le=60)
    # The guide sends "expires 1y"; a month is what Lighthouse's "efficient cache policy" lets pass.
    minimum_max_age_seconds: int = Field(default=30 * 86_400, ge=0)

    @model_validator(mode="after")
    def _root_is_absolute(self) -> Self:
        if self.static_root and not self.static_root.startswith("/"):
            raise ValueError('"static_root" must be absolute')
        if not self.static_url.endswith("/"):
            raise ValueError('"static_url" must end in a slash, as in Django')
        return self

    def resolved(self) -> Self:
        """Return the target with the URL that it refers to. Raises ``ConfigurationError``."""
        url = resolve_secret(self.url)
        if not url.startswith(("https://", "http://")):
            raise ConfigurationError(
                f'{self.url} holds "{url}", which is no URL of a site: write "https://..." there.'
            )
        return self.model_copy(update={"url": url})
