"""A token is known for one by its shape; names, versions and digests are none."""

from __future__ import annotations

import random
import string

import pytest

from nimble_lightning.ops.secret_patterns import looks_random, mask_tokens, service_of

A, H, D, U = "aB3xY9kQ", "0123abcd", "12345678", "A2B3C4D5"

# Put together here, so that no scanner takes this file for a leak.
SAMPLES = {
    "Adafruit IO": "aio_" + A * 3 + "aB3x",
    "age": "AGE-SECRET-KEY-1" + U * 7 + "A2",
    "Anthropic": "sk-ant-" + A * 4,
    "Artifactory": "AKCp" + A * 4,
    "AWS": "AKIA" + "A2B3C4D5" * 2,
    "Azure AD": "aB3" + "8Q~" + A * 4,
    "Buildkite": "bkua_" + H * 5,
    "Cloudflare": "v1.0-" + H * 3 + "-" + H * 18 + "ab",
    "crates.io": "cio" + A * 4,
    "Databricks": "dapi" + H * 4,
    "DigitalOcean": "dop_v1_" + H * 8,
    "Discord": "M" + A * 3 + ".aB3xY9." + A * 4,
    "Discord webhook": D * 2 + "123/" + A * 8,
    "Docker Hub": "dckr_pat_" + A * 3,
    "Doppler": "dp.st." + A * 5,
    "Facebook": "EAA" + A * 8,
    "Figma": "figd_" + A * 5,
    "Fly.io": "fo1_" + A * 5,
    "GitHub": "ghp_" + A * 4 + "aB3x",
    "GitHub fine-grained": "github_pat_" + A * 4,
    "GitLab": "glpat-" + A * 3,
    "Google API": "AIza" + A * 4 + "aB3",
    "Google OAuth": "ya29." + A * 4,
    "Grafana": "glsa_" + A * 4 + "_" + H,
    "Groq": "gsk_" + A * 6,
    "Heroku": "HRKU-" + A * 5,
    "Hugging Face": "hf_" + A * 4 + "aB",
    "JSON Web Token": "eyJ" + A * 2 + ".eyJ" + A * 3 + "." + A * 4,
    "Linear": "lin_api_" + A * 5,
    "Mailchimp": H * 4 + "-us12",
    "Mailgun": "key-" + H * 4,
    "New Relic": "NRAK-" + U * 3 + "A2B",
    "Notion": "ntn_" + A * 5,
    "npm": "npm_" + A * 4 + "aB3x",
    "OpenAI": "sk-proj-" + A * 5,
    "Perplexity": "pplx-" + A * 6,
    "PlanetScale": "pscale_tkn_" + A * 4,
    "Postman": "PMAK-" + H * 3 + "-" + H * 4 + "ab",
    "Prefect": "pnu_" + A * 4 + "aB3x",
    "private key": "-----BEGIN PRIVATE " + "KEY-----\n" + A * 8 + "\n-----END PRIVATE " + "KEY-----",
    "Pulumi": "pul-" + H * 5,
    "PyPI": "pypi-AgE" + A * 4,
    "Replicate": "r8_" + A * 4 + "aB3xY",
    "RubyGems": "rubygems_" + H * 6,
    "RunPod": "rpa_" + U * 5,
    "SendGrid": "SG." + A * 3 + "." + A * 5,
    "Sentry": "sntrys_" + A * 6,
    "Shopify": "shpat_" + H * 4,
    "Slack": "xoxb-" + D + "-" + A * 3,
    "Slack webhook": "T" + U + "/B" + U + "/" + A * 3,
    "Square": "sq0atp-" + A * 3,
    "Stripe": "sk_live_" + A * 3,
    "Supabase": "sbp_" + H * 5,
    "Tailscale": "tskey-auth-" + A * 3,
    "Telegram": D + ":AA" + A * 4 + "a",
    "Terraform": "aB3xY9kQaB3xY9" + ".atlasv1." + A * 8,
    "Twilio": "SK" + H * 4,
    "Vault": "hvs." + A * 3,
    "Weights & Biases": "wandb_v1_" + A * 5,
    "xAI": "xai-" + A * 8,
}


@pytest.mark.parametrize(("service", "token"), SAMPLES.items())
def test_a_token_is_masked_wherever_it_stands(service: str, token: str) -> None:
    assert service_of(token) == service
    for text in ("refused {}", "x={}&y", "'{}'", "Bearer {}, then", "https://example.com/{}?a=b", "({})"):
        assert mask_tokens(text.format(token), "***") == text.format("***")


@pytest.mark.parametrize(
    "word",
    [
        "my_token_sampler_for_experiments",
        "sk-learn",
        "GPU-5f3c1a2b-0000-1111-2222-abcdef012345",
        "Qwen2.5-VL-7B-Instruct-AWQ",
        "ViT-B-16-SigLIP2-512",
        "EleutherAI_pythia-160m_seed1_lr3e-4",
        "torch2.13.0+cu128-Linux-x86-64",
        "MyVeryLongProjectNameV2Experiment",
        "2026-11-30T08-00-00Z-run-A1",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "checkpoints/steps/step-00000120.ckpt",
        "hf_internal_testing_tiny_random_bert",
        "--------------------------------------",
    ],
)
def test_names_versions_and_digests_are_no_tokens(word: str) -> None:
    assert service_of(word) is None
    assert not looks_random(word)
    assert mask_tokens(f"with {word}: 0.5", "***") == f"with {word}: 0.5"


def test_what_a_generator_makes_looks_random() -> None:
    draw = random.Random(0)
    signs = string.ascii_letters + string.digits
    made = ["".join(draw.choice(signs) for _ in range(32)) for _ in range(1000)]
    assert sum(map(looks_random, made)) > 900
