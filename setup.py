"""Build definition of tf_syncrec. Exact versions of a tried environment are in requirements.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
README = ROOT / "README.md"
# Read as text: importing the package needs what is to be installed.
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "tf_syncrec/__init__.py").read_text())[1]
TENSORFLOW = ">=2.20,<2.22"

setup(
    name="tf_syncrec",
    version=VERSION,
    description="Multi-domain sequential recommendation (SyNCRec) in TensorFlow and Keras 3",
    long_description=README.read_text(encoding="utf-8") if README.exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "License :: OSI Approved :: Apache Software License",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
    ],
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["data_prep*", "tf_syncrec*", "serving*"]),
        "tf_syncrec.configs",
    ],
    # The YAML files live in configs/ of a clone and are installed as tf_syncrec/configs/, so that
    # no top-level package with so common a name as "configs" lands in site-packages.
    package_dir={"tf_syncrec.configs": "configs"},
    package_data={
        "tf_syncrec.reporting": ["templates/*.j2"],
        "serving.deploy": ["*.config", "docker-compose.yml"],
        "serving.server": ["*.html"],
        "tf_syncrec.configs": ["*.yaml"],
    },
    install_requires=[
        f"tensorflow{TENSORFLOW}",
        f"tf_keras{TENSORFLOW}",
        "keras>=3.12,<4",
        "tensorflow-recommenders>=0.7.7,<0.8",
        f"tensorflow-serving-api{TENSORFLOW}",
        "tensorflow-datasets>=4.9.8,<5",
        "ibis-framework[duckdb]>=11,<13",
        "pyarrow>=18",
        "google-crc32c>=1.5",
        "numpy>=2.0,<3",
        "h5py>=3.12",
        "pydantic>=2.8,<3",
        "pyyaml>=6.0",
        "jinja2>=3.1,<4",
        "markdown-it-py>=3.0",
        "markupsafe>=2.1",
        "cycler>=0.12",
        "matplotlib>=3.9,<4",
        "tabulate>=0.9",
        "tqdm>=4.66",
        "tensorboard>=2.20",
        "prometheus-client>=0.20",
        "starlette>=1.0,<2",
        "uvicorn>=0.30",
        "absl-py>=2.1",
        "duckdb>=2.0",
        "filelock>=4.3,<5",
        "etils[epath]>=1.9",
        "requests>=2.31",
        "scipy>=1.14",
    ],
    extras_require={
        "dev": [
            "hypothesis>=6.100",
            "import-linter>=2.5",
            "ir_measures>=0.4.1",
            "mypy>=2.0",
            # With 9.2, pytest-xdist (3.8) no longer sees groups: fixtures are made in each process.
            "pytest>=8.0,<9.2",
            "pytest-xdist>=3.6",
            "ruff>=0.15",
            "types-PyYAML",
            "types-tabulate",
        ],
        "docs": [
            "furo>=2025.7",
            "myst-parser>=5.0",
            "sphinx>=8.2,<10",
        ],
        # ScaNN is built for one TensorFlow, which is why it has an environment of its own.
        "scann": ["scann==1.4.2", "tensorflow==2.20.*"],
        "spark": [
            "ibis-framework[pyspark]>=11,<13",
            "pyspark>=4.0,<5",
        ],
        "gpu": [f"tensorflow[and-cuda]{TENSORFLOW}"],
    },
)
