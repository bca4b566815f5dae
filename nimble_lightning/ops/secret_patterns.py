"""What tokens look like: those of well-known services, those in addresses, and random ones."""

from __future__ import annotations

import re
from urllib.parse import unquote

# A token begins and ends where no letter, digit or underscore goes on.
_SHAPES = {
    "Adafruit IO": r"aio_[A-Za-z0-9]{28}",
    "age": r"AGE-SECRET-KEY-1[0-9A-Z]{58}",
    "Anthropic": r"sk-ant-[\w-]{20,}",
    "Artifactory": r"AKCp[A-Za-z0-9]{10,}",
    "AWS": r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",
    "Azure AD": r"[A-Za-z0-9_~.-]{3}\dQ~[A-Za-z0-9_~.-]{31,34}",
    "Buildkite": r"bkua_[a-z0-9]{40}",
    "Cloudflare": r"v1\.0-[0-9a-f]{24}-[0-9a-f]{146}",
    "crates.io": r"cio[A-Za-z0-9]{32}",
    "Databricks": r"dapi[0-9a-f]{32}(?:-\d)?",
    "DigitalOcean": r"do[opr]_v1_[0-9a-f]{64}",
    "Discord": r"[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27,}",
    "Discord webhook": r"\d{17,20}/[\w-]{60,70}",
    "Docker Hub": r"dckr_[po]at_[\w-]{20,}",
    "Doppler": r"dp\.(?:pt|st|ct|sa|scim|audit)\.[A-Za-z0-9]{40,}",
    "Facebook": r"EAA[A-Za-z0-9]{60,}",
    "Figma": r"figd_[\w-]{38,}",
    "Fly.io": r"fo1_[\w-]{40,}|fm[12][ar]?_[A-Za-z0-9+/=_-]{60,}",
    "GitHub": r"gh[oprsu]_[A-Za-z0-9]{36,}",
    "GitHub fine-grained": r"github_pat_[A-Za-z0-9_]{22,}",
    "GitLab": r"gl(?:pat|dt|rt|cbt|ptt|soat|ft|imt|agent)-[\w-]{20,}",
    "Google API": r"AIza[\w-]{35}",
    "Google OAuth": r"ya29\.[\w-]{20,}|GOCSPX-[\w-]{28}",
    "Grafana": r"glc_[A-Za-z0-9+/=]{32,}|glsa_[A-Za-z0-9]{32}_[0-9a-f]{8}",
    "Groq": r"gsk_[A-Za-z0-9]{40,}",
    "Heroku": r"HRKU-[\w-]{36,}",
    "Hugging Face": r"(?:hf|api_org)_[A-Za-z0-9]{30,}",
    "JSON Web Token": r"eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "Linear": r"lin_(?:api|oauth)_[A-Za-z0-9]{40,}",
    "Mailchimp": r"[0-9a-f]{32}-us\d{1,2}",
    "Mailgun": r"key-[0-9a-f]{32}",
    "New Relic": r"NRAK-[A-Z0-9]{27}",
    "Notion": r"(?:ntn|secret)_[A-Za-z0-9]{40,}",
    "npm": r"npm_[A-Za-z0-9]{36}",
    "OpenAI": r"sk-(?:proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,}",
    "Perplexity": r"pplx-[A-Za-z0-9]{40,}",
    "PlanetScale": r"pscale_(?:tkn|pw|oauth)_[\w.-]{32,}",
    "Postman": r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}",
    "Prefect": r"pn[ub]_[A-Za-z0-9]{36}",
    "Pulumi": r"pul-[0-9a-f]{40}",
    "PyPI": r"pypi-AgE[\w-]{20,}",
    "Replicate": r"r8_[A-Za-z0-9]{37}",
    "RubyGems": r"rubygems_[0-9a-f]{48}",
    "RunPod": r"rpa_[A-Z0-9]{40,}",
    "SendGrid": r"SG\.[\w-]{16,}\.[\w-]{16,}",
    "Sentry": r"sntry[su]_[A-Za-z0-9+/=_-]{40,}",
    "Shopify": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}",
    "Slack": r"xox[abeoprs]-[\w-]{10,}|xapp-\d-[\w-]{10,}",
    "Slack webhook": r"T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{20,}",
    "Square": r"sq0(?:atp|csp)-[\w-]{22,}",
    "Stripe": r"[rs]k_(?:live|test|prod)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9]{32,}",
    "Supabase": r"sb[ps]_[0-9a-f]{40}",
    "Tailscale": r"tskey-[a-z]+-[\w-]{20,}",
    "Telegram": r"\d{8,10}:AA[\w-]{32,34}",
    "Terraform": r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{60,}",
    "Twilio": r"SK[0-9a-f]{32}",
    "Vault": r"hv[brs]\.[\w-]{24,}",
    "Weights & Biases": r"(?:wandb_v1_|local-)[\w-]{40,}",
    "xAI": r"xai-[A-Za-z0-9]{60,}",
}
_PRIVATE_KEY = r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"

# What is in an address and tells nobody anything: hosts, plain words, short numbers.
_PLAIN = re.compile(r"[a-z]{1,12}|[A-Z]{1,6}|\d{1,5}|(?:[\w-]+\.)+[\w-]+(?::\d+)?|[\d.:]+")
_SHORTEST = 6
_LONG_WORD = re.compile(r"[^\s'\"]{16}")

URL = re.compile(r"[A-Za-z][\w+.-]*://\S+")
_TOKEN = re.compile(rf"(?<!\w)(?:{'|'.join(_SHAPES.values())})(?!\w)|{_PRIVATE_KEY}")


def service_of(value: str) -> str | None:
    """Whose token a value looks like; None where it looks like none."""
    if value.startswith("-----BEGIN") and _TOKEN.fullmatch(value.strip()):
        return "private key"
    return next((name for name, shape in _SHAPES.items() if re.fullmatch(shape, value)), None)


def looks_random(value: str) -> bool:
    """Whether in a long word small letters, large ones and digits keep changing places, as by a generator.

    Names of models and versions have dashes and dots, and digests and UUIDs are hexadecimal: they are none.
    """
    if not re.fullmatch(r"[A-Za-z0-9+/=_~.-]{20,512}", value) or re.fullmatch(r"[0-9a-fA-F-]+", value):
        return False
    word = max(re.split(r"[-_.]", value), key=len)
    kinds = ["0" if sign.isdigit() else "A" if sign.isupper() else "a" for sign in word]
    changes = sum(one != other for one, other in zip(kinds, kinds[1:], strict=False))
    return len(word) >= 14 and set(kinds) == {"0", "A", "a"} and changes >= 0.45 * len(word)


def mask_tokens(text: str, mask: str) -> str:
    """The text without what looks like the token of a service."""
    # Most lines have no word long enough, and need not be compared with every shape.
    return _TOKEN.sub(mask, text) if _LONG_WORD.search(text) else text


def is_telling(value: str) -> bool:
    """Whether a value could be a secret, as opposed to a path, a number or a word."""
    return len(value) >= _SHORTEST and value[0] not in "/~." and not _PLAIN.fullmatch(value)


def password_of(url: str) -> list[str]:
    """The password before an address's host, as it stands there and unquoted."""
    authority = url.partition("://")[2].partition("/")[0]
    password = authority.rpartition("@")[0].partition(":")[2]
    return sorted({password, unquote(password)}) if len(password) > 3 else []


def tokens_of(url: str) -> list[str]:
    """The parts of an address that could be tokens or passwords, as they stand there and unquoted."""
    rest = url.partition("://")[2]
    authority, _, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    host = re.sub(r":\d+$", "", host)
    parts = re.split(r"[/?&,]", f"{host}/{path}")
    values = [part.partition("=")[2] if "=" in part else part for part in parts]
    values.append(user.partition(":")[0])
    found = [spelling for value in values if is_telling(value) for spelling in {value, unquote(value)}]
    return found + password_of(url)
