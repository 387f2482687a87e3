"""
The documents' examples, made to run at a sandbox, and run as anybody would: python, node, bash with curl.

What is changed in an example, and nothing else:

- the host: for Prodia's client its `baseUrl`, beside its token;
- line breaks that the document lost, where a language needs them;
- for a Python example that was written with JSON's words, `true` and `false` are given a meaning.

The keys in them are as good as any. The sandbox knows the addresses of their pictures, and has pictures of its own for
them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent

RUNFLOW_HOST = "https://api.runflow.io"

_PATIENCE_SECONDS = 60
_INSTALL_SECONDS = 120


class Missing(Exception):
    """Something that is not on this machine; the message says what, and what to do."""


def pointed(example: str, *, upstream: str) -> str:
    """Return a Runflow example with another host."""
    assert RUNFLOW_HOST in example
    return example.replace(RUNFLOW_HOST, upstream)


def fenced(document: str, language: str) -> str:
    """Return the code between one pair of fences of a document without line breaks, with those that it needs."""
    found = re.search(rf"```{language} (.*?) ```", document)
    assert found is not None
    breaks = {"python": r" (?=(?:response|data) = |print\()", "bash": r" (?=-[Hd] )"}.get(language)
    return found.group(1) if breaks is None else re.sub(breaks, "\n", found.group(1))


def with_json_words(code: str) -> str:
    """Return Python code in which `true` and `false` have a meaning."""
    return f"true, false = True, False\n{code}"


def run_python(code: str, folder: Path) -> str:
    """Run a script with the `requests` package and return what it printed."""
    return _run([sys.executable, "-c", code], folder)


def run_bash(code: str, folder: Path) -> str:
    """
    Run a command line with curl and return what it printed.

    Raises:
        Missing: there is no curl.
    """
    if shutil.which("curl") is None:
        raise Missing("no curl here: apt-get install curl")
    return _run(["bash", "-c", code], folder, RUNFLOW_API_KEY="any")


def run_node(code: str, folder: Path, **environ: str) -> str:
    """
    Run a module with Node.js and return what it printed.

    Raises:
        Missing: there is no Node.js 18 or newer.
    """
    node = shutil.which("node")
    if node is None:
        raise Missing("no node here: install Node.js 18 or newer")
    (folder / "main.mjs").write_text(code)
    return _run([node, "main.mjs"], folder, **environ)


def run_with_prodia(example: str, folder: Path, *, packages: Path, upstream: str) -> str:
    """
    Run an example of Prodia's guide with Prodia's own client and return what it printed.

    Args:
        example: as the guide has it.
        folder: where it finds or leaves `input.jpg`, and leaves `mask_0.png` and so on.
        packages: as `installed` gives it.
        upstream: base URL of Prodia, `/v2` included.

    Raises:
        Missing: there is no Node.js.
    """
    token = "token: process.env.PRODIA_TOKEN,\n"
    assert example.count(token) == 1
    code = example.replace(token, f"{token}baseUrl: process.env.PRODIA_BASE_URL,\n")
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(packages, target_is_directory=True)
    return run_node(code, folder, PRODIA_TOKEN="any", PRODIA_BASE_URL=upstream)


def installed(cache: Path) -> Path:
    """
    Return the `node_modules` that `package-lock.json` pins, installed into *cache* once.

    Raises:
        Missing: npm is not here, or could not install.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("no npm here: install Node.js 18 or newer with npm")
    lock = (HERE / "package-lock.json").read_bytes()
    folder = cache / f"npm-{lock_name(lock)}"
    if not (folder / "node_modules").is_dir():
        fresh = cache / f"npm-{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, fresh)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = subprocess.run(
                command, cwd=fresh, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise Missing(f"npm could not install Prodia's client within {_INSTALL_SECONDS} s") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            raise Missing(f"npm could not install Prodia's client, which these tests run: {last[:200]}")
        try:
            fresh.rename(folder)
        except OSError:  # another process has put it there meanwhile
            shutil.rmtree(fresh)
    return folder / "node_modules"


def lock_name(lock: bytes) -> str:
    """Return a name for what a lock file pins."""
    packages = json.loads(lock)["packages"]
    return "-".join(f"{path.rpartition('/')[2]}-{package['version']}" for path, package in packages.items() if path)


def _run(command: list[str], folder: Path, **environ: str) -> str:
    """Run a command with hardly any environment, and return what it printed."""
    usual = {"PATH": os.environ["PATH"], "HOME": str(folder), "NO_PROXY": "*", "NODE_NO_WARNINGS": "1"}
    done = subprocess.run(
        command,
        cwd=folder,
        env={**usual, **environ},
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
