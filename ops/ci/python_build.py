"""How a Python was built. Run by an interpreter, it prints a word on itself.

``optimised``: by profile (``./configure --enable-optimizations``), which makes Python code faster;
``plain``: not so; ``no-venv``: it cannot make a virtual environment with pip. It fails where the
version is none that the project runs on.
"""

import importlib.util
import platform
import sys
import sysconfig

OLDEST, TOO_NEW = (3, 11), (3, 13)


def optimised(variables):
    """Tell from the variables of ``sysconfig`` whether a Python was optimised by profile.

    Debian and Ubuntu do so without the option of configure, and take the flag out of what they
    install: there it is empty, where a plain build has it although it was not used.

    >>> optimised({"CONFIG_ARGS": "'--enable-optimizations' '--with-lto'"})
    True
    >>> optimised({"CONFIG_ARGS": "", "PGO_PROF_USE_FLAG": "-fprofile-use", "PY_CFLAGS": "-O3"})
    False
    >>> optimised({"CONFIG_ARGS": "", "PGO_PROF_USE_FLAG": "", "PY_CFLAGS": "-O2"})
    True
    """
    compiled = f"{variables.get('PY_CFLAGS')} {variables.get('PY_CFLAGS_NODIST')}"
    return (
        "--enable-optimizations" in (variables.get("CONFIG_ARGS") or "")
        or "-fprofile-use" in compiled
        or variables.get("PGO_PROF_USE_FLAG") == ""
    )


def build():
    """Describe this Python's build: version, whether it is optimised, compiler and its flags."""
    variables = sysconfig.get_config_vars()
    flags = " ".join(str(variables.get(name) or "") for name in ("PY_CFLAGS", "PY_CFLAGS_NODIST"))
    named = [flag for flag in dict.fromkeys(flags.split()) if not flag.startswith(("-I", "-W"))]
    return {
        "python": platform.python_version(),
        "build": "optimised" if optimised(variables) else "plain, not optimised",
        "compiler": platform.python_compiler(),
        "flags": " ".join(named),
    }


def _word():
    if not OLDEST <= sys.version_info[:2] < TOO_NEW:
        sys.exit(1)
    if importlib.util.find_spec("ensurepip") is None:
        return "no-venv"
    return "optimised" if optimised(sysconfig.get_config_vars()) else "plain"


if __name__ == "__main__":
    print(_word())
