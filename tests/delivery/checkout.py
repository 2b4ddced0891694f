"""A commit of its own to run scripts in: what they write lies there, and the real checkout may have changes."""

import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ["config", "k8s", "migrations", "scripts", "Makefile", ".gitignore"]


def git(folder, *arguments):
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@maple.example", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make(folder):
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns(".test-*", "__pycache__"))
        else:
            shutil.copy2(ROOT / part, folder / part)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "Everything")
    return folder


def commit(folder, message):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


# Named by `make k8s-test`, or as scripts/xtask.sh has built it.
XTASK = os.environ.get("MAPLE_XTASK") or os.path.join(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"), "xtask/debug/xtask")


def run(folder, task, *arguments, **environment):
    """The status of a task of xtask and all that it says; nothing of this process's environment but the PATH and HOME."""
    settings = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **environment}
    return subprocess.run(
        [XTASK, task, *arguments],
        cwd=folder,
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
